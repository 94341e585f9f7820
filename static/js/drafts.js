// Nothing that was typed is lost: forms with data-draft="<name>" keep their words until they are sent.
//   input[data-drafted]   kept with the words: what they were written against. Such a form gets them back when it is opened.

import { storageKey } from "./page.js";

const FIELDS = "textarea[name], input[name][type=text], input[name]:not([type])";
const DRAFTED = "input[data-drafted]";

function keyOf(form) {
  return storageKey(`draft.${form.dataset.draft}`);
}

function save(form) {
  const fields = [...form.querySelectorAll(FIELDS)].filter((field) => field.value.trim() && !isAsRead(form, field));
  const words = [...fields, ...form.querySelectorAll(DRAFTED)].map((field) => [field.name, field.value]);
  if (fields.length) localStorage.setItem(keyOf(form), JSON.stringify(words));
  else localStorage.removeItem(keyOf(form));
}

/** Whether a field of a form that was drawn with values still has the one it was drawn with. */
function isAsRead(form, field) {
  return form.querySelector(DRAFTED) !== null && field.value === field.defaultValue;
}

/** Put the words back; whether there were any. */
function restore(form) {
  const words = new Map(JSON.parse(localStorage.getItem(keyOf(form)) ?? "[]"));
  const fields = [...form.querySelectorAll(FIELDS)].filter((field) => words.has(field.name) && (!field.value || isAsRead(form, field)));
  for (const field of [...(fields.length ? form.querySelectorAll(DRAFTED) : []), ...fields]) {
    field.value = words.get(field.name);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
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
  for (const form of root.querySelectorAll(`form[data-draft]:not(:has(${DRAFTED}))`)) restore(form);
}

export function startDrafts() {
  try {
    restoreAll(document);
  } catch {
    return; // Storage is refused: forms work, without drafts.
  }
  document.addEventListener("input", ({ target }) => target.form?.dataset.draft && save(target.form));
  document.addEventListener("submit", ({ target }) => "enhance" in target.dataset || forget(target));
  document.addEventListener("mc:fresh", ({ detail }) => restoreAll(detail.root));
}
