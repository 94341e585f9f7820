// The menu of a card, which is built from the page's template when it is opened.

import { listMoves } from "./cards.js";

const CANCEL_RESUME = "cancel-resume";
const actions = () => document.getElementById("card-actions").content;

function findAction(value) {
  return actions().querySelector(`[data-action="${CSS.escape(value)}"]`);
}

/** The label of an action in the menus of cards, by its value. */
export function getActionLabel(value) {
  return findAction(value)?.textContent ?? value;
}

function buildItem(value, { card: ticket, version }) {
  const item = findAction(value).cloneNode(true);
  if (item.dataset.move === "answer") item.href = `/ticket/${ticket}#answer`;
  else if ("moveForm" in item.dataset) item.href = `/ticket/${ticket}/move/${value}`;
  else item.formAction = `/ticket/${ticket}/move?version=${version}`;
  return item;
}

function buildItems(card) {
  const items = actions().firstElementChild.cloneNode(false);
  const values = listMoves(card).map(({ value }) => value);
  if ("resumes" in card.dataset) values.push(CANCEL_RESUME);
  items.append(...values.filter(findAction).map((value) => buildItem(value, card.dataset)));
  if (card.dataset.status === "todo") items.append(buildPlaces(card.dataset));
  return items;
}

/** The items that change the place of a ticket in To do. */
function buildPlaces({ card: ticket, ranked }) {
  const places = document.getElementById("card-places").content.cloneNode(true);
  for (const button of places.querySelectorAll("button")) button.formAction = `/ticket/${ticket}/place`;
  if (ranked === undefined) places.querySelector("[value=unranked]").remove();
  return places;
}

function fillMenu(menu) {
  menu.querySelector(".items")?.remove();
  if (menu.open) menu.append(buildItems(menu.closest("[data-card]")));
}

/** Fill menus before js/site/dialogs.js positions them, which listens at the document. */
export function startCardMenus() {
  addEventListener("toggle", ({ target }) => target.matches?.("[data-card-menu]") && fillMenu(target), true);
}
