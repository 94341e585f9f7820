// Menus (details[data-menu]) and dialogs (opened by data-dialog="<id>", or by a move's link).

import { buildLoadingLine } from "./loading.js";
import { fetchFragment } from "./http.js";
import { morph } from "./fragments.js";

const OPEN_DELAY_MS = 300;
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

function moveMenuFocus(event) {
  const menu = event.target.closest?.("details[data-menu][open]");
  if (!menu || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
  event.preventDefault();
  const stops = [...menu.querySelectorAll("summary, a, button, input")];
  const step = event.key === "ArrowDown" ? 1 : -1;
  stops.at((stops.indexOf(document.activeElement) + step) % stops.length)?.focus();
}

function closeMenuByKey(event) {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details[data-menu][open]");
  if (!menu) return;
  event.preventDefault();
  menu.open = false;
  menu.querySelector("summary").focus();
}

export function openDialog(id) {
  const dialog = document.getElementById(id);
  if (dialog && !dialog.open) dialog.showModal();
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
    const form = await loadForSlot(id, slot, "Reading the form…", load);
    if (form === null) return;
    showForm(form, id);
  } catch {
    location.assign(href);
  }
}

/** Show a form's HTML in a dialog, with the focus in its first field. */
export function showForm(html, id = "move-dialog") {
  const slot = document.querySelector(`#${id} [data-slot]`);
  morph(slot, html);
  openDialog(id);
  slot.querySelector(".input")?.focus();
}

export function openMove(href) {
  return openForm(() => fetchFragment(href), href);
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
  else if ("moveForm" in control.dataset) openMove(control.getAttribute("href"));
  else dialog.close();
}

export function startDialogs() {
  document.addEventListener("click", handleClick);
  document.addEventListener("toggle", ({ target }) => target.matches?.("details[data-menu]") && positionMenu(target), true);
  document.addEventListener("keydown", moveMenuFocus);
  document.addEventListener("keydown", closeMenuByKey);
  document.addEventListener("scroll", () => closeMenus(document.activeElement), true);
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && !("stays" in dialog.dataset) && dialog.close());
  }
}
