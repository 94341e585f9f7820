// The phases picker: its rows change places, and the button of its form names what is ticked.

function rowsOf(picker) {
  return [...picker.querySelectorAll("[data-phase]")];
}

function placeOf(row) {
  return row.querySelector("[name$='-place']");
}

function number(picker) {
  rowsOf(picker).forEach((row, index) => {
    placeOf(row).value = index + 1;
  });
}

function move(button) {
  const row = button.closest("[data-phase]");
  const other = "earlier" in button.dataset ? row.previousElementSibling : row.nextElementSibling;
  if (!other) return;
  if ("earlier" in button.dataset) other.before(row);
  else other.after(row);
  number(row.closest("[data-phases]"));
  button.focus();
}

/** "Dev", "Dev + QA", "Dev Review + QA": as one says it. */
export function named(names) {
  return names.length > 1 ? `${names.slice(0, -1).join(" ")} + ${names.at(-1)}` : names.join("");
}

function label(picker) {
  const button = picker.closest("form")?.querySelector("[data-phases-label]");
  if (!button) return;
  const ticked = rowsOf(picker).filter((row) => row.querySelector("[data-include]").checked);
  button.querySelector("span").textContent = `${button.dataset.phasesLabel} ${named(ticked.map(({ dataset }) => dataset.phase))}`.trim();
  button.disabled = ticked.length === 0 && "phasesNeeded" in button.dataset;
}

/** A refresh lays the rows out as the server knows them; the places that a person chose stand in their fields. */
function settle(root) {
  for (const picker of root.querySelectorAll("[data-phases]")) {
    const rows = rowsOf(picker);
    const wanted = rows.toSorted((one, other) => placeOf(one).value - placeOf(other).value);
    if (wanted.some((row, index) => row !== rows[index])) picker.append(...wanted);
    label(picker);
  }
}

export function startPhases() {
  settle(document);
  document.addEventListener("mc:fresh", ({ detail }) => settle(detail.root));
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-earlier], [data-later]");
    if (!button) return;
    move(button);
    label(button.closest("[data-phases]"));
  });
  document.addEventListener("change", ({ target }) => {
    const picker = target.closest("[data-phases]");
    if (picker) label(picker);
  });
}
