// Inline editing: details[data-edit] opens its form in place. Escape cancels, Enter or Save sends.
//   [data-leave-edit]     closes the form
//   [data-opens="<id>"]   opens the form on a click, like its button
//   form[data-autosend]   is sent when a box is ticked

import { markBusy } from "../site/loading.js";
import { discardDraft, restoreDraft } from "../site/drafts.js";
import { morph } from "../site/fragments.js";
import { closeEditor, showError } from "../site/forms.js";
import { fragments } from "../site/shared_stream.js";
import { describeError, postForElements } from "../site/http.js";

const FIELDS = "textarea, select, input:not([type=hidden])";

function openEditor(edit) {
  const form = edit.querySelector("form");
  const isRestored = restoreDraft(form);
  form.querySelector("[data-restored]")?.toggleAttribute("hidden", !isRestored);
  const field = form.querySelector(FIELDS) ?? form.querySelector("button");
  field.focus();
  if (field.type === "text") field.select();
  if ("grow" in field.dataset) field.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Reset a closed form and refresh the part around it. Drafts stay. */
function resetEditor(edit) {
  for (const form of edit.querySelectorAll("form")) form.reset();
  refreshAround(edit);
}

function refreshAround(element) {
  const live = element.closest("[data-live]");
  if (live) fragments.refresh(live);
}

function isListOpen(select) {
  return CSS.supports("selector(:open)") && select.matches(":open");
}

function handleKey(event) {
  const edit = event.target.closest?.("details[data-edit][open]");
  if (!edit || event.defaultPrevented) return;
  if (event.key === "Escape") {
    event.preventDefault();
    closeEditor(edit);
  } else if (event.key === "Enter" && event.target.localName === "select" && !isListOpen(event.target)) {
    event.preventDefault();
    event.target.form.requestSubmit();
  }
}

function handleClick({ target }) {
  const edit = target.closest("[data-leave-edit], [data-forget]")?.closest("details[data-edit]");
  if (edit && target.closest("[data-forget]")) discardDraft(target.form);
  if (edit) closeEditor(edit);
  const opener = target.closest("[data-opens]");
  if (opener && getSelection().isCollapsed) document.getElementById(opener.dataset.opens).open = true;
  return Boolean(edit);
}

/** Show the server's rendering of the text, by the rules of the saved text. */
async function showPreview(event) {
  const { target: form, submitter } = event;
  const preview = form.querySelector("[data-preview]");
  if (submitter?.name !== "preview" || !preview) return;
  event.preventDefault();
  event.stopPropagation();
  try {
    const elements = await markBusy(submitter, () => postForElements(form.getAttribute("action"), new FormData(form, submitter)));
    morph(preview, elements.querySelector("[data-preview]").outerHTML, "outerHTML");
  } catch (refusal) {
    showError(describeError(refusal), form.querySelector("[data-error]"));
  }
}

export function startEditing() {
  document.addEventListener("toggle", ({ target }) => target.matches?.("details[data-edit]") && (target.open ? openEditor(target) : resetEditor(target)), true);
  document.addEventListener("keydown", handleKey);
  document.addEventListener("click", (event) => handleClick(event) && event.preventDefault());
  document.addEventListener("submit", showPreview, true);
  document.addEventListener("change", ({ target }) => target.type === "checkbox" && target.form && "autosend" in target.form.dataset && target.form.requestSubmit());
  document.addEventListener("mc:refused", ({ detail }) => "autosend" in detail.form.dataset && refreshAround(detail.form));
}
