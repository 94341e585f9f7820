// Nothing that was typed is lost: forms with data-draft="<name>" keep their words until they are sent.
//   input[data-drafted]   kept with the words: what they were written against. Such a form gets them back when it is opened.
//   [data-restored]       shown where words have come back

import { storageKey } from "./page.js";

const FIELDS = "textarea[name], input[name][type=text], input[name][type=datetime-local], input[name]:not([type])";
const CHOICES = "select[name], input[type=checkbox][name], input[type=radio][name]";
const DRAFTED = "input[data-drafted]";
const SENT = storageKey("sent");

function keyOf(form) {
  return storageKey(`draft.${form.dataset.draft}`);
}

function save(form) {
  const fields = [...form.querySelectorAll(FIELDS)].filter((field) => field.value.trim() && !isAsRead(form, field));
  const choices = [...form.querySelectorAll(CHOICES)].filter(isChanged).map((field) => [nameOf(field), valueOf(field)]);
  const words = [...[...fields, ...form.querySelectorAll(DRAFTED)].map((field) => [nameOf(field), field.value]), ...choices];
  if (fields.length) localStorage.setItem(keyOf(form), JSON.stringify(words));
  else localStorage.removeItem(keyOf(form));
}

/** Whether a field of a form that was drawn with values still has the one it was drawn with. */
function isAsRead(form, field) {
  return form.querySelector(DRAFTED) !== null && field.value === field.defaultValue;
}

const isBox = (field) => field.type === "checkbox" || field.type === "radio";
const valueOf = (field) => (isBox(field) ? field.checked : field.value);

function nameOf(field) {
  if (isBox(field)) return `${field.name}=${field.value}`;
  return field.form.elements[field.name] instanceof RadioNodeList ? field.id : field.name;
}

/** Whether a choice is another than the form was drawn with. */
function isChanged(field) {
  if (isBox(field)) return field.checked !== field.defaultChecked;
  return field.value !== ([...field.options].find((option) => option.defaultSelected) ?? field.options[0])?.value;
}

function chooseAgain(form, words) {
  for (const field of form.querySelectorAll(CHOICES)) {
    if (!words.has(nameOf(field)) || isChanged(field)) continue;
    if (isBox(field)) field.checked = words.get(nameOf(field));
    else field.value = words.get(nameOf(field));
  }
}

/** Put the words back, and the choices made with them; whether there were any. */
function restore(form) {
  const words = new Map(JSON.parse(localStorage.getItem(keyOf(form)) ?? "[]"));
  const fields = [...form.querySelectorAll(FIELDS)].filter((field) => words.has(nameOf(field)) && (!field.value || isAsRead(form, field)));
  for (const field of [...(fields.length ? form.querySelectorAll(DRAFTED) : []), ...fields]) {
    field.value = words.get(nameOf(field));
    field.closest("details")?.setAttribute("open", "");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
  if (fields.length) chooseAgain(form, words);
  return fields.length > 0;
}

/** Put the words of one form back when it is opened. */
export function recall(form) {
  try {
    return Boolean(form.dataset.draft) && restore(form);
  } catch {
    return false; // Storage is refused.
  }
}

export function forget(form) {
  if (form.dataset.draft) localStorage.removeItem(keyOf(form));
}

function restoreAll(root) {
  for (const form of root.querySelectorAll(`form[data-draft]:not(:has(${DRAFTED}))`)) {
    if (restore(form)) form.querySelector("[data-restored]")?.removeAttribute("hidden");
  }
}

function noteSent(form) {
  if (form.dataset.draft && !("enhance" in form.dataset)) sessionStorage.setItem(SENT, keyOf(form));
}

/**
 * A plain form was sent; whether it arrived shows on the next page: the same form again means that it did not, or was
 * refused.
 */
function settleSent() {
  const sent = sessionStorage.getItem(SENT);
  if (!sent || "kept" in document.documentElement.dataset) return;
  sessionStorage.removeItem(SENT);
  const again = [...document.querySelectorAll("form[data-draft]")].some((form) => keyOf(form) === sent);
  if (!again) localStorage.removeItem(sent);
}

export function startDrafts() {
  try {
    settleSent();
    restoreAll(document);
  } catch {
    return; // Storage is refused: forms work, without drafts.
  }
  document.addEventListener("input", ({ target }) => target.form?.dataset.draft && save(target.form));
  document.addEventListener("submit", ({ target }) => noteSent(target));
  document.addEventListener("mc:fresh", ({ detail }) => restoreAll(detail.root));
}
