// Nothing that was typed is lost: forms with data-draft="<name>" keep their words until they are sent.

import { storageKey } from "./page.js";

const FIELDS = "textarea[name], input[name][type=text], input[name]:not([type])";

function keyOf(form) {
  return storageKey(`draft.${form.dataset.draft}`);
}

function save(form) {
  const words = [...form.querySelectorAll(FIELDS)].filter((field) => field.value.trim()).map((field) => [field.name, field.value]);
  if (words.length) localStorage.setItem(keyOf(form), JSON.stringify(words));
  else localStorage.removeItem(keyOf(form));
}

function restore(form) {
  const words = new Map(JSON.parse(localStorage.getItem(keyOf(form)) ?? "[]"));
  for (const field of form.querySelectorAll(FIELDS)) {
    if (!field.value && words.has(field.name)) {
      field.value = words.get(field.name);
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }
}

export function forget(form) {
  if (form.dataset.draft) localStorage.removeItem(keyOf(form));
}

function restoreAll(root) {
  for (const form of root.querySelectorAll("form[data-draft]")) restore(form);
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
