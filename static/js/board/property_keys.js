// Keys that set a property of the focused ticket, of the selection, or of the ticket that the page shows.
//   Each opens a menu; a digit, Enter or a click sets the property at once.

import { showForm } from "../site/dialogs.js";
import { showError } from "../site/forms.js";
import { describeError, fetchFragment } from "../site/http.js";
import { bindKeys } from "../site/shortcuts.js";

const DIALOG = "property-dialog";
const PROPERTIES = { s: ["state", "Change state…"], p: ["priority", "Set priority…"], a: ["assigned_to", "Set owner…"], l: ["tag", "Set tags…"], t: ["park", "Park until…"] };

let listSelected = () => [];

/** The tickets that a key concerns now. */
function listTickets() {
  const page = document.querySelector(".ticket[data-ticket]");
  const card = document.activeElement?.closest("[data-card]");
  return page ? [page.dataset.ticket] : listSelected(card);
}

async function openProperty(name, tickets) {
  if (!tickets.length) return;
  try {
    showForm(await fetchFragment(`/board/property/${name}?tickets=${tickets.join(",")}`), DIALOG);
    const items = listItems();
    (items.find((item) => "on" in item.dataset) ?? items[0])?.focus();
  } catch (refusal) {
    showError(describeError(refusal));
  }
}

function listItems() {
  return [...document.querySelectorAll(`#${DIALOG} .item`)];
}

function handleKey(event) {
  if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
  const items = listItems();
  const at = items.indexOf(document.activeElement);
  const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
  const numbered = /^[1-9]$/.test(event.key) ? items[Number(event.key) - 1] : null;
  if (!step && !numbered) return;
  event.preventDefault();
  if (numbered) numbered.click();
  else items.at((at + step + items.length) % items.length)?.focus();
}

/** Commands of the palette for the tickets that a key would concern. */
export function listPropertyCommands() {
  const tickets = document.getElementById(DIALOG) ? listTickets() : [];
  if (!tickets.length) return [];
  const group = tickets.length === 1 ? tickets[0] : `${tickets.length} tickets`;
  return Object.entries(PROPERTIES).map(([key, [name, label]]) => ({ id: `set ${name}`, group, label, hint: key, run: () => openProperty(name, tickets) }));
}

/** Bind the keys, for who may change tickets. `without` are those that mean something else on this page. */
export function startPropertyKeys({ selected = listSelected, without = [] } = {}) {
  const dialog = document.getElementById(DIALOG);
  if (!dialog) return;
  listSelected = selected;
  const keys = Object.entries(PROPERTIES).filter(([key]) => !without.includes(key));
  bindKeys(Object.fromEntries(keys.map(([key, [name]]) => [key, () => openProperty(name, listTickets())])));
  if (document.querySelector(".ticket[data-ticket]")) bindKeys({ ".": () => openProperty("state", listTickets()) });
  dialog.addEventListener("keydown", handleKey);
  dialog.addEventListener("click", ({ target }) => target.closest("[data-move-form]") && dialog.close(), true);
}
