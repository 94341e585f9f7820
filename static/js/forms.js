// Forms with data-enhance are sent without leaving the page. They all work without this, as plain forms.
//   data-keep      stays in place and is emptied after sending
//   data-leave     leads to another page; all others change the page they stand on
//   data-redraw    is drawn anew by the server when it is refused, with what was wrong where it was wrong
//   [data-error]   inside it: where a refusal is said
//   [data-default] the button that Ctrl+Enter presses

import { forget } from "./drafts.js";
import { morph } from "./fragments.js";
import { post } from "./page.js";

/** Say what went wrong where it went wrong; in the page's notices where the form has no place for it. */
export function say(text, place) {
  const target = place ?? document.querySelector(".flashes");
  const notice = document.createElement("div");
  notice.className = "notice";
  notice.dataset.tone = "bad";
  notice.setAttribute("role", "alert");
  const words = document.createElement("p");
  words.textContent = text;
  notice.append(words);
  target.replaceChildren(notice);
  notice.scrollIntoView({ block: "nearest" });
}

/** Show the notices of the page that a form led to; those that expire go when their time is over. */
export function showNotices(notices) {
  document.querySelector(".flashes")?.replaceChildren(...notices);
  expire();
}

function expire() {
  for (const notice of document.querySelectorAll("[data-expires]")) {
    setTimeout(() => notice.remove(), Number(notice.dataset.expires) * 1000);
  }
}

/** Close what is edited in place; its button has the focus again. */
export function leave(edit) {
  edit.open = false;
  edit.querySelector("summary").focus();
}

function finish(form, submitter, { url, notices }) {
  forget(form);
  form.querySelector("[data-error]")?.replaceChildren();
  showNotices(notices);
  if ("keep" in form.dataset) {
    form.reset();
    form.querySelector("[data-grow]")?.dispatchEvent(new Event("input", { bubbles: true }));
  }
  form.closest("dialog")?.close();
  (submitter ?? form).closest("details[data-menu]")?.removeAttribute("open");
  const edit = form.closest("details[data-edit]");
  if (edit) leave(edit);
  document.dispatchEvent(new CustomEvent("mc:sent", { detail: { form } }));
  if ("leave" in form.dataset) location.assign(url);
}

async function send(form, submitter) {
  const buttons = new Set(form.querySelectorAll("button")).add(submitter ?? form);
  const data = new FormData(form, submitter);
  for (const button of buttons) button.disabled = true;
  try {
    finish(form, submitter, await post(submitter?.getAttribute("formaction") ?? form.getAttribute("action"), data));
  } catch (refusal) {
    await refuse(form, refusal);
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

async function refuse(form, refusal) {
  if (refusal.form && "redraw" in form.dataset) {
    await morph(form, refusal.form.outerHTML, "outerMorph");
    form.querySelector(".input")?.focus();
  } else {
    say(refusal.message, form.querySelector("[data-error]"));
  }
  document.dispatchEvent(new CustomEvent("mc:refused", { detail: { form } }));
}

function grow(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

function submitByKey(event) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const form = event.target.form;
  if (event.target.localName !== "textarea" || !form) return;
  event.preventDefault();
  form.requestSubmit([...form.querySelectorAll("[data-default]")].find((button) => button.checkVisibility()));
}

export function startForms() {
  expire();
  document.addEventListener("submit", (event) => {
    if (!("enhance" in event.target.dataset)) return;
    event.preventDefault();
    send(event.target, event.submitter);
  });
  document.addEventListener("keydown", submitByKey);
  document.addEventListener("click", ({ target }) => target.closest("[data-dismiss]")?.closest(".notice").remove());
  document.addEventListener("input", ({ target }) => "grow" in target.dataset && grow(target));
  for (const form of document.querySelectorAll("[data-filters]")) {
    form.addEventListener("change", () => form.requestSubmit());
    form.addEventListener("formdata", ({ formData }) => {
      for (const [name, value] of [...formData]) if (!value) formData.delete(name);
    });
  }
}
