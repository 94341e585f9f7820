// The phase picker: reordering of its rows, and the label of its form's button.

import { setDisabled } from "../site/loading.js";

function listRows(picker) {
  return [...picker.querySelectorAll("[data-phase]")];
}

function getPlaceField(row) {
  return row.querySelector("[name$='-place']");
}

function getPhaseName(row) {
  return row.querySelector("[name$='-name']").value.trim();
}

function renumberRows(picker) {
  listRows(picker).forEach((row, index) => {
    getPlaceField(row).value = index + 1;
  });
}

function moveRow(button) {
  const row = button.closest("[data-phase]");
  const other = "earlier" in button.dataset ? row.previousElementSibling : row.nextElementSibling;
  if (!other) return;
  if ("earlier" in button.dataset) other.before(row);
  else other.after(row);
  renumberRows(row.closest("[data-phases]"));
  button.focus();
  getPlaceField(row).dispatchEvent(new Event("input", { bubbles: true }));
}

/** Join phase names: "Dev", "Dev + QA", "Dev Review + QA". */
export function joinNames(names) {
  return names.length > 1 ? `${names.slice(0, -1).join(" ")} + ${names.at(-1)}` : names.join("");
}

function updateLabel(picker) {
  const button = picker.closest("form")?.querySelector("[data-phases-label]");
  if (!button) return;
  const includedRows = listRows(picker).filter((row) => row.querySelector("[data-include]").checked);
  button.querySelector("span").textContent = `${button.dataset.phasesLabel} ${joinNames(includedRows.map(getPhaseName))}`.trim();
  setDisabled(button, "phases", includedRows.length === 0 && "phasesNeeded" in button.dataset);
}

/** Put the rows in the user's order, which is in the fields: a refresh brings the server's, a draft another one. */
function updatePicker(picker) {
  const rows = listRows(picker);
  const orderedRows = rows.toSorted((one, other) => getPlaceField(one).value - getPlaceField(other).value);
  if (orderedRows.some((row, index) => row !== rows[index])) picker.append(...orderedRows);
  updateLabel(picker);
}

function updatePickers(root) {
  root.querySelectorAll("[data-phases]").forEach(updatePicker);
}

export function startPhases() {
  updatePickers(document);
  document.addEventListener("mc:fresh", ({ detail }) => updatePickers(detail.root));
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-earlier], [data-later]");
    if (!button) return;
    moveRow(button);
  });
  document.addEventListener("input", ({ target }) => {
    const picker = target.closest("[data-phases]");
    if (picker) updatePicker(picker);
  });
  document.addEventListener("reset", ({ target }) => setTimeout(() => updatePickers(target)));
}
