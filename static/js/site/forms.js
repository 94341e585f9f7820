// Forms with data-enhance are sent without leaving the page. Without this script they work as plain forms.
//   data-keep      the form stays and is cleared after sending, or replaced where the server renders the next one (data-next); on
//                  a button, when that was pressed
//   data-leave     the answer is another page, likewise; all other forms change the page they are on
//   data-draws     on a button: the server renders the form again with the entered values, and saves nothing
//   data-redraw    a refused form is rendered again by the server, with an error at each field
//   [data-error]   inside it: the place of an error; [data-notes]: the place of a confirmation
//   [data-default] the button for Ctrl+Enter, where it is not the first

import { markBusy, setDisabled } from "./loading.js";
import { discardDraft } from "./drafts.js";
import { showForm } from "./dialogs.js";
import { reveal } from "./element.js";
import { announceNewElements, morph } from "./fragments.js";
import { describeError, parseFragment, postForElements, postForm, storageKey } from "./http.js";

/** Show an error in `noteSlot`, or in the page's notices when the form has no place for it. */
export function showError(text, noteSlot) {
  const target = noteSlot ?? document.querySelector(".flashes");
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

/** Show the notices of the page to which a form redirected, and schedule the end of those that expire. */
export function showNotices(notices) {
  document.querySelector(".flashes")?.replaceChildren(...notices);
  scheduleExpiry();
}

function scheduleExpiry() {
  for (const notice of document.querySelectorAll("[data-expires]")) {
    setTimeout(() => notice.remove(), Number(notice.dataset.expires) * 1000);
  }
}

/** Close an inline editor and return the focus to its button. */
export function closeEditor(edit) {
  edit.open = false;
  edit.querySelector("summary").focus();
}

const NOTICES_KEY = storageKey("notices");

/** Go to the page to which a form led, and show there what the server said about it. */
export function leaveFor(url, notices) {
  sessionStorage.setItem(NOTICES_KEY, notices.map((notice) => notice.outerHTML).join(""));
  location.assign(url);
}

function showCarriedNotices() {
  const html = sessionStorage.getItem(NOTICES_KEY);
  sessionStorage.removeItem(NOTICES_KEY);
  if (html) showNotices([...parseFragment(html).children]);
}

function showResult(form, submitter, { url, notices, nextForm }) {
  const has = (name) => name in form.dataset || name in (submitter?.dataset ?? {});
  const noteSlot = (nextForm ?? form).querySelector("[data-notes]");
  discardDraft(form);
  const isHandled = !document.dispatchEvent(new CustomEvent("mc:sent", { detail: { form, notices }, cancelable: true }));
  if (isHandled) return;
  if (has("leave")) {
    leaveFor(url, notices);
    return;
  }
  form.querySelector("[data-error]")?.replaceChildren();
  if (noteSlot) noteSlot.textContent = notices.map((notice) => notice.textContent.trim()).join(" ");
  else showNotices(notices);
  if (nextForm) replaceForm(form, nextForm);
  else if (has("keep")) clearForm(form);
  else form.closest("dialog")?.close();
  (submitter ?? form).closest("details[data-menu]")?.removeAttribute("open");
  const edit = form.closest("details[data-edit]");
  if (edit) closeEditor(edit);
}

/** Replace a form by the one that the server rendered for the next entry. */
function replaceForm(form, nextForm) {
  form.replaceWith(nextForm);
  announceNewElements(nextForm.parentElement);
  nextForm.querySelector(".input").focus();
}

function clearForm(form) {
  form.reset();
  form.querySelector("[data-grow]")?.dispatchEvent(new Event("input", { bubbles: true }));
  form.querySelector(".input")?.focus();
}

async function send(form, submitter) {
  const buttons = new Set(form.querySelectorAll("button")).add(submitter ?? form);
  const data = new FormData(form, submitter);
  for (const button of buttons) setDisabled(button, "sending", true);
  try {
    const url = submitter?.getAttribute("formaction") ?? form.getAttribute("action");
    showResult(form, submitter, await markBusy(submitter, () => postForm(url, data)));
  } catch (refusal) {
    await showRefusal(form, refusal);
  } finally {
    for (const button of buttons) setDisabled(button, "sending", false);
  }
}

async function showRefusal(form, refusal) {
  if (refusal.form && "redraw" in form.dataset) {
    morph(form, refusal.form.outerHTML, "outerHTML");
    const field = form.querySelector("[aria-invalid]") ?? form.querySelector(".input");
    if (field) reveal(field);
    field?.focus();
  } else if (refusal.form) {
    showForm(refusal.form.outerHTML); // what the refused button has to ask first
  } else {
    showError(describeError(refusal), form.querySelector("[data-error]"));
  }
  document.dispatchEvent(new CustomEvent("mc:refused", { detail: { form } }));
}

/** Replace the form by the server's rendering of it with the entered values. Chosen files stay. */
async function redrawForm(form, submitter) {
  const data = new FormData(form, submitter);
  for (const [name, value] of [...data]) if (value instanceof File) data.delete(name);
  try {
    const elements = await markBusy(submitter, () => postForElements(form.getAttribute("action"), data));
    morph(form, elements.querySelector("form").outerHTML, "outerHTML");
  } catch (refusal) {
    showError(describeError(refusal), form.querySelector("[data-error]"));
  }
}

function growTextarea(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

/** Send the form around a field by Ctrl+Enter: with the button in focus, its default button, or its first one. */
function submitByShortcut(event) {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const { target } = event;
  const form = target.closest?.("form");
  if (!form || target.form !== form || target.type === "button") return;
  event.preventDefault();
  const buttons = [...form.elements].filter((element) => element.type === "submit" && element.checkVisibility());
  form.requestSubmit(buttons.find((button) => button === target) ?? buttons.find((button) => "default" in button.dataset) ?? buttons[0]);
}

export function startForms() {
  scheduleExpiry();
  showCarriedNotices();
  document.addEventListener("submit", (event) => {
    if (!("enhance" in event.target.dataset)) return;
    event.preventDefault();
    if (event.submitter && "draws" in event.submitter.dataset) redrawForm(event.target, event.submitter);
    else send(event.target, event.submitter);
  });
  document.addEventListener("keydown", submitByShortcut);
  document.addEventListener("click", ({ target }) => target.closest("[data-dismiss]")?.closest(".notice").remove());
  document.addEventListener("input", ({ target }) => "grow" in target.dataset && growTextarea(target));
  for (const form of document.querySelectorAll("[data-filters]")) {
    form.addEventListener("change", () => form.requestSubmit());
    form.addEventListener("formdata", ({ formData }) => {
      for (const [name, value] of [...formData]) if (!value) formData.delete(name);
    });
  }
}
