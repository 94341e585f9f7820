// Review of a run's changes: viewed files, and comments on lines, which are sent to the agent together as one message.

import { createElement } from "./js/site/element.js";
import { startContext } from "./js/ticket/diff_context.js";
import { listKeys } from "./js/site/shortcuts.js";
import { RecentList } from "./js/site/recent_list.js";

class Review {
  #root;
  #remarks;
  #viewed;

  constructor(root) {
    this.#root = root;
    this.#remarks = new RecentList(`remarks.${root.dataset.review}`);
    this.#viewed = new RecentList(`viewed.${root.dataset.review}`);
    for (const { path, line, text } of this.#remarks.read()) this.#openRemark(this.#findLineButton(path, line), text);
    for (const path of this.#viewed.read()) this.#setViewed(this.#findFile(path), true);
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("keydown", (event) => this.#moveFocus(event));
    root.addEventListener("input", () => this.#saveRemarks());
    root.querySelector("[data-remarks]")?.addEventListener("formdata", ({ formData }) => this.#addRemarks(formData));
    document.addEventListener("mc:sent", ({ detail }) => "remarks" in detail.form.dataset && this.#remarks.write([]));
    for (const file of root.querySelectorAll("[data-file]")) file.querySelector("[data-remark]")?.setAttribute("tabindex", "0");
    this.#showCount();
    listKeys("ArrowDown", "ArrowUp");
  }

  // Viewed files

  #findFile(path) {
    return this.#root.querySelector(`[data-file="${CSS.escape(path)}"]`);
  }

  #setViewed(file, isViewed) {
    if (!file) return;
    file.open = !isViewed;
    file.querySelector("[data-viewed]").setAttribute("aria-pressed", String(isViewed));
    this.#root.querySelector(`.file-list a[href="#${file.id}"]`)?.closest("li").toggleAttribute("data-seen", isViewed);
  }

  #toggleViewed(button) {
    const file = button.closest("[data-file]");
    const isViewed = button.getAttribute("aria-pressed") !== "true";
    this.#setViewed(file, isViewed);
    const rest = this.#viewed.read().filter((path) => path !== file.dataset.file);
    this.#viewed.write(isViewed ? [...rest, file.dataset.file] : rest);
  }

  // Line comments

  #findLineButton(path, line) {
    return this.#findFile(path)?.querySelector(`[data-remark="${CSS.escape(line)}"]`);
  }

  #click({ target }) {
    const number = target.closest("[data-remark]");
    if (number) this.#openRemark(number).querySelector("textarea").focus();
    if (target.closest("[data-viewed]")) this.#toggleViewed(target.closest("[data-viewed]"));
    if (target.closest("[data-drop]")) this.#removeRemark(target.closest(".remark"));
  }

  /** Return the comment form below a line; each line has one. */
  #openRemark(button, text = "") {
    const row = button?.closest("tr");
    if (!row) return null;
    const line = button.dataset.remark;
    const existing = [...this.#root.querySelectorAll(".remark")].find((each) => each.previousElementSibling === row && each.dataset.line === line);
    if (existing) return existing;
    const path = row.closest("[data-file]").dataset.file;
    const words = createElement("textarea", { className: "input", rows: 2, maxLength: 4000, value: text, placeholder: "Comment on this line", ariaLabel: `Comment on ${path}, line ${line}` });
    const removeButton = createElement("button", { type: "button", className: "button plain", textContent: "Remove" });
    removeButton.dataset.drop = "";
    const note = createElement("span", { className: "small muted", textContent: "Saved, goes with your review" });
    const actions = createElement("div", { className: "actions" }, removeButton, note);
    const cell = createElement("td", { colSpan: row.children.length }, words, actions);
    const remark = createElement("tr", { className: "remark" }, cell);
    remark.dataset.line = line;
    row.after(remark);
    return remark;
  }

  #removeRemark(remark) {
    remark.previousElementSibling.querySelector(`[data-remark="${CSS.escape(remark.dataset.line)}"]`)?.focus();
    remark.remove();
    this.#saveRemarks();
  }

  #listRemarks() {
    return [...this.#root.querySelectorAll(".remark")].map((remark) => ({
      path: remark.closest("[data-file]").dataset.file,
      line: remark.dataset.line,
      text: remark.querySelector("textarea").value.trim(),
    })).filter(({ text }) => text);
  }

  #saveRemarks() {
    this.#remarks.write(this.#listRemarks());
    this.#showCount();
  }

  #showCount() {
    const count = this.#listRemarks().length;
    this.#root.querySelector("[data-remark-count]").textContent = count ? `${count} line ${count === 1 ? "comment" : "comments"}` : "";
    const body = this.#root.querySelector("[data-remarks] textarea");
    if (body) body.required = count === 0;
  }

  /** Add the line comments to the form, in repeated fields. */
  #addRemarks(formData) {
    for (const { path, line, text } of this.#listRemarks()) {
      formData.append("comment_path", path);
      formData.append("comment_line", line);
      formData.append("comment_body", text);
    }
  }

  // Keyboard: Tab stops once for each file; the arrows move from line to line.

  #moveFocus(event) {
    const number = event.target.closest?.("[data-remark]");
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!number || !step) return;
    event.preventDefault();
    const numbers = [...number.closest("[data-file]").querySelectorAll("[data-remark]")];
    const next = numbers[numbers.indexOf(number) + step];
    if (!next) return;
    number.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}

const root = document.querySelector("[data-review]");
if (root) {
  new Review(root);
  startContext(root);
}
