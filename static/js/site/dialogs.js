// Menus (details[data-menu]) and dialogs (opened by data-dialog="<id>", or by a move's link).

import { buildLoadingLine } from "./loading.js";
import { fetchFragment } from "./http.js";
import { morph } from "./fragments.js";
import { focusQuestion, focusReview } from "../ticket/question.js";

const OPEN_DELAY_MS = 300;
const openers = new WeakMap(); // where the focus was when a menu was opened by a key
const latestRequests = new WeakMap(); // what was asked for last, by the place that is to show it

function closeMenus(except) {
  for (const menu of document.querySelectorAll("details[data-menu][open]")) {
    if (!menu.contains(except)) menu.open = false;
  }
}

/** Position a menu over the page, so that a scrolling list does not clip it. */
function positionMenu(menu) {
  const items = menu.querySelector(".items");
  if (!menu.open || !items || !menu.closest(".cards, .scroll-x, .board-bar, .board-list")) return;
  const button = menu.getBoundingClientRect();
  items.style.position = "fixed";
  items.style.insetInlineEnd = "auto";
  const { width, height } = items.getBoundingClientRect();
  const below = button.bottom + height + 8 < innerHeight;
  items.style.top = `${below ? button.bottom : Math.max(8, button.top - height - 8)}px`;
  items.style.left = `${Math.max(8, Math.min(button.right - width, innerWidth - width - 8))}px`;
}

function showMenu(menu) {
  positionMenu(menu);
  focusFirstItem(menu);
}

/** Open a menu with the focus in its first item. Escape returns the focus to where it was. */
export function openMenu(menu) {
  openers.set(menu, document.activeElement);
  menu.open = true;
}

/** Focus the first item of a menu that was opened by keyboard. */
function focusFirstItem(menu) {
  const isByKeyboard = openers.has(menu) || menu.querySelector("summary").matches(":focus-visible");
  if (menu.open && isByKeyboard) listStops(menu)[1]?.focus();
  if (!menu.open) openers.delete(menu);
}

function listStops(menu) {
  return [...menu.querySelectorAll("summary, a, button, input")].filter((stop) => stop.checkVisibility());
}

function moveMenuFocus(event) {
  const menu = event.target.closest?.("details[data-menu][open]");
  if (!menu || event.target.matches("input")) return;
  const stops = listStops(menu);
  const at = stops.indexOf(document.activeElement);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 1, End: -1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  stops.at(next % stops.length)?.focus();
}

/** Close a menu when the focus leaves it. */
function closeLeftMenu({ target, relatedTarget }) {
  const menu = target.closest?.("details[data-menu][open]");
  if (menu && relatedTarget && !menu.contains(relatedTarget)) menu.open = false;
}

function closeMenuByKey(event) {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details[data-menu][open]");
  if (!menu) return;
  event.preventDefault();
  const opener = openers.get(menu);
  menu.open = false;
  (opener?.isConnected ? opener : menu.querySelector("summary")).focus();
}

export function openDialog(id) {
  const dialog = document.getElementById(id);
  if (!dialog || dialog.open) return dialog;
  closeMenus(); // Escape would close a menu behind the dialog first
  dialog.showModal();
  return dialog;
}

/**
 * Fetch a dialog's content. Null when the dialog was closed meanwhile, or other content was requested. A slow answer opens
 * the dialog with a loading line in `slot`.
 */
export async function loadForSlot(id, slot, words, load) {
  const request = {};
  latestRequests.set(slot, request);
  slot.replaceChildren(buildLoadingLine(words));
  const discardRequest = () => latestRequests.get(slot) === request && latestRequests.delete(slot);
  const openTimer = setTimeout(() => latestRequests.get(slot) === request && openDialog(id).addEventListener("close", discardRequest, { once: true }), OPEN_DELAY_MS);
  try {
    const content = await load();
    return latestRequests.get(slot) === request ? content : null;
  } catch (refusal) {
    if (latestRequests.get(slot) === request) throw refusal;
    return null;
  } finally {
    clearTimeout(openTimer);
  }
}

/** Load a form into a dialog. When that fails, open the form's own page. */
export async function openForm(load, href, id = "move-dialog") {
  try {
    const slot = document.querySelector(`#${id} [data-slot]`);
    const form = await loadForSlot(id, slot, "Loading the form…", load);
    if (form === null) return;
    showForm(form, id);
  } catch {
    location.assign(href);
  }
}

/** Show a form's HTML in a dialog, with the focus in its first field. */
export function showForm(html, id = "move-dialog") {
  const slot = document.querySelector(`#${id} [data-slot]`);
  slot.replaceChildren(); // what was typed into the form of another ticket stays there
  morph(slot, html);
  openDialog(id);
  slot.querySelector(".input")?.focus();
}

export function openMove(href) {
  return openForm(() => fetchFragment(href), href);
}

const PLACES = { answer: focusQuestion, request_changes: focusReview };

/** Open a move's form; an answer and a review are written on the page where it has a place for them. */
function openMoveOrPlace(link) {
  if (!PLACES[link.dataset.move]?.()) openMove(link.getAttribute("href"));
}

function handleClick(event) {
  closeMenus(event.target);
  const control = event.target.closest("[data-dialog], [data-move-form], [data-close]");
  if (!control || event.ctrlKey || event.metaKey) return;
  const dialog = control.closest("dialog");
  if ("close" in control.dataset && !dialog) return;
  event.preventDefault();
  closeMenus();
  if (control.dataset.dialog) openDialog(control.dataset.dialog);
  else if ("moveForm" in control.dataset) openMoveOrPlace(control);
  else dialog.close();
}

export function startDialogs() {
  document.addEventListener("click", handleClick);
  document.addEventListener("toggle", ({ target }) => target.matches?.("details[data-menu]") && showMenu(target), true);
  document.addEventListener("focusout", closeLeftMenu);
  document.addEventListener("keydown", moveMenuFocus);
  document.addEventListener("keydown", closeMenuByKey);
  document.addEventListener("scroll", () => closeMenus(document.activeElement), true);
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && !("stays" in dialog.dataset) && dialog.close());
  }
}
