// Editing in place: details[data-edit] opens its form where it stands. Escape leaves, Enter or Save sends.
//   [data-leave-edit]     closes it
//   [data-opens="<id>"]   opens it when it is clicked, as its button does
//   form[data-autosend]   sends itself when a box is ticked

import { busy } from "./busy.js";
import { forget, recall } from "./drafts.js";
import { morph } from "./fragments.js";
import { leave, say } from "./forms.js";
import { fragments } from "./live.js";
import { fetchDrawn } from "./page.js";

const FIELDS = "textarea, select, input:not([type=hidden])";

function show(edit) {
  const form = edit.querySelector("form");
  const restored = recall(form);
  form.querySelector("[data-restored]")?.toggleAttribute("hidden", !restored);
  const field = form.querySelector(FIELDS) ?? form.querySelector("button");
  field.focus();
  if (field.type === "text") field.select();
  if ("grow" in field.dataset) field.dispatchEvent(new Event("input", { bubbles: true }));
}

/** What was left unsent is gone, but for drafts; what happened meanwhile is shown. */
function hide(edit) {
  for (const form of edit.querySelectorAll("form")) form.reset();
  refreshAround(edit);
}

function refreshAround(element) {
  const live = element.closest("[data-live]");
  if (live) fragments.refresh(live);
}

function hasItsListOpen(select) {
  return CSS.supports("selector(:open)") && select.matches(":open");
}

function press(event) {
  const edit = event.target.closest?.("details[data-edit][open]");
  if (!edit || event.defaultPrevented) return;
  if (event.key === "Escape") {
    event.preventDefault();
    leave(edit);
  } else if (event.key === "Enter" && event.target.localName === "select" && !hasItsListOpen(event.target)) {
    event.preventDefault();
    event.target.form.requestSubmit();
  }
}

function click({ target }) {
  const edit = target.closest("[data-leave-edit], [data-forget]")?.closest("details[data-edit]");
  if (edit && target.closest("[data-forget]")) forget(target.form);
  if (edit) leave(edit);
  const opener = target.closest("[data-opens]");
  if (opener && getSelection().isCollapsed) document.getElementById(opener.dataset.opens).open = true;
  return Boolean(edit);
}

/** The server draws the preview, with the rules by which it will draw the saved text. */
async function preview(event) {
  const { target: form, submitter } = event;
  if (submitter?.name !== "preview") return;
  event.preventDefault();
  event.stopPropagation();
  try {
    const drawn = await busy(submitter, () => fetchDrawn(form.getAttribute("action"), new FormData(form, submitter)));
    morph(form.querySelector("[data-preview]"), drawn.querySelector("[data-preview]").outerHTML, "outerHTML");
  } catch (refusal) {
    say(refusal.message, form.querySelector("[data-error]"));
  }
}

export function startEditing() {
  document.addEventListener("toggle", ({ target }) => target.matches?.("details[data-edit]") && (target.open ? show(target) : hide(target)), true);
  document.addEventListener("keydown", press);
  document.addEventListener("click", (event) => click(event) && event.preventDefault());
  document.addEventListener("submit", preview, true);
  document.addEventListener("change", ({ target }) => target.type === "checkbox" && target.form && "autosend" in target.form.dataset && target.form.requestSubmit());
  document.addEventListener("mc:refused", ({ detail }) => "autosend" in detail.form.dataset && refreshAround(detail.form));
}
