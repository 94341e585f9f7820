// Drafts: a form with data-draft="<name>" stores its text in this browser until it is sent.
//   input[data-drafted]   stored with the draft: the version it was written for. Such a form restores its draft when it is opened.
//   form[data-prefilled]  has values before somebody types, which a draft replaces.
//   [data-restored]       shown when a draft was restored, with a button [data-discard]

import { reveal } from "./element.js";
import { storageKey } from "./http.js";

const FIELDS = "textarea[name], input[name][type=text], input[name][type=datetime-local], input[name]:not([type])";
const CHOICES = "select[name], input[type=checkbox][name], input[type=radio][name], input[type=number][name]";
const BASELINE_INPUTS = "input[data-drafted]";
const SUBMITTED_KEY = storageKey("sent");

function getKey(form) {
  return storageKey(`draft.${form.dataset.draft}`);
}

function save(form) {
  const fields = [...form.querySelectorAll(FIELDS)].filter((field) => field.value.trim() && !isUnchanged(form, field));
  const choices = [...form.querySelectorAll(CHOICES)].filter(isChanged).map((field) => [getName(field), getValue(field)]);
  const values = [...[...fields, ...form.querySelectorAll(BASELINE_INPUTS)].map((field) => [getName(field), field.value]), ...choices];
  if (fields.length) localStorage.setItem(getKey(form), JSON.stringify(values));
  else localStorage.removeItem(getKey(form));
}

/** Return whether a field of a prefilled form still has the value with which it was rendered. */
function isUnchanged(form, field) {
  const isPrefilled = "prefilled" in form.dataset || form.querySelector(BASELINE_INPUTS) !== null;
  return isPrefilled && field.value === field.defaultValue;
}

const isBox = (field) => field.type === "checkbox" || field.type === "radio";
const getValue = (field) => (isBox(field) ? field.checked : field.value);

function getName(field) {
  if (isBox(field)) return `${field.name}=${field.value}`;
  return field.form.elements[field.name] instanceof RadioNodeList ? field.id : field.name;
}

/** Return whether a choice differs from the one with which the form was rendered. */
function isChanged(field) {
  if (isBox(field)) return field.checked !== field.defaultChecked;
  if (field.type === "number") return field.value !== field.defaultValue;
  return field.value !== ([...field.options].find((option) => option.defaultSelected) ?? field.options[0])?.value;
}

function restoreChoices(form, values) {
  for (const field of form.querySelectorAll(CHOICES)) {
    if (!values.has(getName(field)) || isChanged(field)) continue;
    if (isBox(field)) field.checked = values.get(getName(field));
    else field.value = values.get(getName(field));
    reveal(field);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

/** Restore a form's text and choices. Return whether there was a draft. */
function restore(form) {
  const values = new Map(JSON.parse(localStorage.getItem(getKey(form)) ?? "[]"));
  const fields = [...form.querySelectorAll(FIELDS)].filter((field) => values.has(getName(field)) && (!field.value || isUnchanged(form, field)));
  for (const field of [...(fields.length ? form.querySelectorAll(BASELINE_INPUTS) : []), ...fields]) {
    field.value = values.get(getName(field));
    reveal(field);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }
  if (fields.length) restoreChoices(form, values);
  return fields.length > 0;
}

/** Restore one form's draft when it is opened. */
export function restoreDraft(form) {
  try {
    return Boolean(form.dataset.draft) && restore(form);
  } catch {
    return false; // Storage is refused.
  }
}

export function discardDraft(form) {
  if (form.dataset.draft) localStorage.removeItem(getKey(form));
}

function restoreAll(root) {
  for (const form of root.querySelectorAll(`form[data-draft]:not(:has(${BASELINE_INPUTS}))`)) {
    if (restore(form)) form.querySelector("[data-restored]")?.removeAttribute("hidden");
  }
}

/** Discard the draft of the form around a button, and what it restored. */
function discardByButton(button) {
  discardDraft(button.form);
  button.form.reset();
  button.closest("[data-restored]").hidden = true;
  button.form.querySelector(".input").focus();
}

function rememberSubmit(form) {
  if (form.dataset.draft && !("enhance" in form.dataset)) sessionStorage.setItem(SUBMITTED_KEY, getKey(form));
}

/**
 * Remember that a plain form was sent. The next page shows whether it succeeded: the same form again means that it failed or
 * was refused.
 */
function clearSubmitted() {
  const submittedKey = sessionStorage.getItem(SUBMITTED_KEY);
  if (!submittedKey || "kept" in document.documentElement.dataset) return;
  sessionStorage.removeItem(SUBMITTED_KEY);
  const isShownAgain = [...document.querySelectorAll("form[data-draft]")].some((form) => getKey(form) === submittedKey);
  if (!isShownAgain) localStorage.removeItem(submittedKey);
}

export function startDrafts() {
  try {
    clearSubmitted();
    restoreAll(document);
  } catch {
    return; // Storage is refused: forms work, without drafts.
  }
  document.addEventListener("input", ({ target }) => target.form?.dataset.draft && save(target.form));
  document.addEventListener("submit", ({ target }) => rememberSubmit(target));
  document.addEventListener("click", ({ target }) => target.matches("[data-discard]") && discardByButton(target));
  document.addEventListener("mc:fresh", ({ detail }) => restoreAll(detail.root));
}
