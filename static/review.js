// Reviewing a run's changes: what was viewed, and remarks on lines that are sent to the agent together, as one message.

import { element } from "./js/element.js";
import { listKeys } from "./js/keys.js";
import { Store } from "./js/store.js";

/** `src/a.py:12`, or with what tells that the line is the one that was there before. */
function place(path, line) {
  return line.startsWith("-") ? `\`${path}:${line.slice(1)}\` (as it was)` : `\`${path}:${line}\``;
}

class Review {
  #root;
  #remarks;
  #viewed;

  constructor(root) {
    this.#root = root;
    this.#remarks = new Store(`remarks.${root.dataset.review}`);
    this.#viewed = new Store(`viewed.${root.dataset.review}`);
    for (const { path, line, text } of this.#remarks.read()) this.#open(this.#button(path, line), text);
    for (const path of this.#viewed.read()) this.#mark(this.#file(path), true);
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("keydown", (event) => this.#walk(event));
    root.addEventListener("input", () => this.#keep());
    root.querySelector("[data-remarks]")?.addEventListener("formdata", ({ formData }) => this.#compose(formData));
    document.addEventListener("mc:sent", ({ detail }) => "remarks" in detail.form.dataset && this.#remarks.write([]));
    for (const file of root.querySelectorAll("[data-file]")) file.querySelector("[data-remark]")?.setAttribute("tabindex", "0");
    this.#count();
    listKeys("ArrowDown", "ArrowUp");
  }

  // Viewed

  #file(path) {
    return this.#root.querySelector(`[data-file="${CSS.escape(path)}"]`);
  }

  #mark(file, seen) {
    if (!file) return;
    file.open = !seen;
    file.querySelector("[data-viewed]").setAttribute("aria-pressed", String(seen));
    this.#root.querySelector(`.file-list a[href="#${file.id}"]`)?.closest("li").toggleAttribute("data-seen", seen);
  }

  #look(button) {
    const file = button.closest("[data-file]");
    const seen = button.getAttribute("aria-pressed") !== "true";
    this.#mark(file, seen);
    const rest = this.#viewed.read().filter((path) => path !== file.dataset.file);
    this.#viewed.write(seen ? [...rest, file.dataset.file] : rest);
  }

  // Remarks

  #button(path, line) {
    return this.#file(path)?.querySelector(`[data-remark="${CSS.escape(line)}"]`);
  }

  #click({ target }) {
    const number = target.closest("[data-remark]");
    if (number) this.#open(number).querySelector("textarea").focus();
    if (target.closest("[data-viewed]")) this.#look(target.closest("[data-viewed]"));
    if (target.closest("[data-drop]")) this.#drop(target.closest(".remark"));
  }

  /** The place to write under a line; a line has one. */
  #open(button, text = "") {
    const row = button?.closest("tr");
    if (!row) return null;
    const line = button.dataset.remark;
    const known = [...this.#root.querySelectorAll(".remark")].find((each) => each.previousElementSibling === row && each.dataset.line === line);
    if (known) return known;
    const path = row.closest("[data-file]").dataset.file;
    const words = element("textarea", { className: "input", rows: 2, value: text, ariaLabel: `Comment on ${path}, line ${line}` });
    const drop = element("button", { type: "button", className: "button plain", textContent: "Remove" });
    drop.dataset.drop = "";
    const cell = element("td", { colSpan: row.children.length }, words, drop);
    const remark = element("tr", { className: "remark" }, cell);
    remark.dataset.line = line;
    row.after(remark);
    return remark;
  }

  #drop(remark) {
    remark.previousElementSibling.querySelector(`[data-remark="${CSS.escape(remark.dataset.line)}"]`)?.focus();
    remark.remove();
    this.#keep();
  }

  #written() {
    return [...this.#root.querySelectorAll(".remark")].map((remark) => ({
      path: remark.closest("[data-file]").dataset.file,
      line: remark.dataset.line,
      text: remark.querySelector("textarea").value.trim(),
    })).filter(({ text }) => text);
  }

  #keep() {
    this.#remarks.write(this.#written());
    this.#count();
  }

  #count() {
    const count = this.#written().length;
    this.#root.querySelector("[data-remark-count]").textContent = count ? `${count} on lines` : "";
    const body = this.#root.querySelector("[data-remarks] textarea");
    if (body) body.required = count === 0;
  }

  /** One message: the words for all of it, then a list of the remarks. */
  #compose(formData) {
    const list = this.#written().map(({ path, line, text }) => `- ${place(path, line)} — ${text.replaceAll("\n", "\n  ")}`);
    formData.set("body", [formData.get("body").trim(), list.join("\n")].filter(Boolean).join("\n\n"));
  }

  // Keys: a file is one stop; the arrows walk from line to line.

  #walk(event) {
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
if (root) new Review(root);
