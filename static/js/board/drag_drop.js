// Cards are dragged to another column, with the pointer or the keyboard, where a move allows it.
//   Space picks up the focused card, the arrows choose the column, Enter or Space drops it, Escape cancels.

import { getActionLabel } from "./card_menu.js";
import { mapDropTargets, getTitleLink } from "./cards.js";
import { findPlace, placeTicket } from "./queue_order.js";
import { openMove, showForm } from "../site/dialogs.js";
import { showError, showNotices } from "../site/forms.js";
import { describeError, postForm } from "../site/http.js";

const EXPLANATION_MS = 8_000;
const DROP_REFUSALS = {
  in_progress: "an agent starts it by itself",
  needs_input: "only its agent can ask",
  in_review: "only its agent can hand in the work",
  done: "it is done when its review is approved",
};

/** Find the column under the pointer: the card stays in the last column that accepts it, even when dragged on. */
function findColumn(event) {
  const { clientX, clientY } = event.changedTouches?.[0] ?? event;
  return document.elementFromPoint(clientX, clientY)?.closest("[data-column]") ?? null;
}

function getColumnName(column) {
  return column.querySelector(".label").textContent;
}

export class CardDragging {
  #root;
  #fragments;
  #selection;
  #onMoved;
  #keyboardDrag = null; // {card, home, next, columns, at, folded} during a drag with the keyboard
  #isPointerDrag = false;
  #explanationTimer = 0;
  #announcer = document.querySelector("[data-announce]");
  #hint = document.querySelector("[data-carry-hint]"); // the visible hint during a drag

  /** Calls `onMoved(...columns)` when a card has changed its column. */
  constructor(root, fragments, selection, onMoved) {
    this.#root = root;
    this.#fragments = fragments;
    this.#selection = selection;
    this.#onMoved = onMoved;
    this.#makeSortable();
    document.addEventListener("mc:fresh", () => this.#makeSortable());
    document.addEventListener("keydown", (event) => this.#handleKey(event), true);
    root.addEventListener("focusout", ({ target }) => setTimeout(() => this.#keyboardDrag && document.activeElement !== target && document.activeElement !== getTitleLink(this.#keyboardDrag.card) && this.#cancelKeyboardDrag()));
  }

  get carrying() {
    return this.#isPointerDrag || this.#keyboardDrag !== null;
  }

  // Pointer

  #makeSortable() {
    for (const list of this.#root.querySelectorAll("[data-column] [data-cards]")) {
      if (Sortable.get(list)) continue;
      Sortable.create(list, {
        group: "board", sort: list.dataset.cards === "todo", draggable: ".card", filter: ".menu, .select-box", preventOnFilter: false,
        delay: 220, delayOnTouchOnly: true, touchStartThreshold: 6, animation: 120, ghostClass: "drag-ghost", scrollSensitivity: 60,
        onStart: ({ item }) => this.#startPointerDrag(item),
        onMove: ({ from, to }) => from === to || "takes" in to.closest("[data-column]").dataset,
        onEnd: (event) => this.#endPointerDrag(event),
      });
    }
  }

  #startPointerDrag(card) {
    this.#isPointerDrag = true;
    this.#startDrag(card);
  }

  #endPointerDrag({ item, from, to, oldIndex, newIndex, originalEvent }) {
    this.#isPointerDrag = false;
    this.#endDrag(item);
    const column = findColumn(originalEvent);
    const drop = column?.contains(to) && mapDropTargets(item).get(to.dataset.cards);
    const back = () => from.insertBefore(item, from.children[oldIndex] ?? null);
    if (drop && from !== to) this.#dropCard(item, drop, back);
    else if (from !== to) back();
    else if (newIndex !== oldIndex) this.#placeCard(item, back);
    if (column && !column.contains(from) && !drop) this.#explainRefusal(item, column);
  }

  /** Change the place of a card in To do, where it was dropped. */
  async #placeCard(card, back) {
    if (!(await placeTicket(card.dataset.card, findPlace(card)))) back();
    this.#onMoved(card.dataset.status);
  }

  /** Say why a card cannot be dropped in a column, and where it can. */
  #explainRefusal(card, column) {
    const drops = mapDropTargets(card);
    const names = [...this.#root.querySelectorAll("[data-column]")].filter(({ dataset }) => drops.has(dataset.column)).map(getColumnName);
    const reason = DROP_REFUSALS[column.dataset.column];
    const where = names.length ? ` It can move to ${names.join(", ")}.` : "";
    this.#explain(`${card.dataset.card} cannot move to ${getColumnName(column)}${reason ? `: ${reason}` : ""}.${where}`);
  }

  #explain(text) {
    this.#announce(text);
    this.#hint.hidden = false;
    clearTimeout(this.#explanationTimer);
    this.#explanationTimer = setTimeout(() => (this.#hint.hidden = this.#keyboardDrag === null), EXPLANATION_MS);
  }

  // Keyboard

  #handleKey(event) {
    if (this.#keyboardDrag) this.#handleDragKey(event);
    else if (event.key === " " && event.target.matches?.("[data-column] .title")) this.#startKeyboardDrag(event);
  }

  #startKeyboardDrag(event) {
    const card = event.target.closest("[data-card]");
    const drops = mapDropTargets(card);
    event.preventDefault();
    if (!drops.size) return this.#explain(`${card.dataset.card} cannot be moved from ${getColumnName(card.closest("[data-column]"))}.`);
    const home = card.closest("[data-column]");
    const columns = [...this.#root.querySelectorAll("[data-column]")].filter((column) => column === home || drops.has(column.dataset.column));
    this.#keyboardDrag = { card, home, next: card.nextElementSibling, columns, at: columns.indexOf(home), drops };
    this.#startDrag(card);
    const names = columns.filter((column) => column !== home).map(getColumnName).join(", ");
    return this.#announce(`${card.dataset.card} picked up from ${getColumnName(home)}. Use the arrow keys to choose a column: ${names}. Press Enter to drop it, Escape to cancel.`);
  }

  #handleDragKey(event) {
    const keyAction = { ArrowRight: () => this.#moveToColumn(1), ArrowLeft: () => this.#moveToColumn(-1), ArrowUp: () => {}, ArrowDown: () => {}, Enter: () => this.#dropByKeyboard(), " ": () => this.#dropByKeyboard(), Escape: () => this.#cancelKeyboardDrag() }[event.key];
    if (!keyAction && event.key !== "Tab") return event.stopImmediatePropagation();
    event.preventDefault();
    event.stopImmediatePropagation();
    return keyAction?.();
  }

  #moveToColumn(step) {
    const { card, home, columns, drops } = this.#keyboardDrag;
    const at = Math.max(0, Math.min(this.#keyboardDrag.at + step, columns.length - 1));
    this.#resetColumn();
    this.#keyboardDrag.at = at;
    const column = columns[at];
    this.#keyboardDrag.folded = column.getAttribute("data-folded");
    column.removeAttribute("data-folded");
    column.setAttribute("data-aimed", "");
    if (column === home) this.#returnCard();
    else column.querySelector("[data-cards]").prepend(card);
    getTitleLink(card).focus({ preventScroll: true });
    column.scrollIntoView({ block: "nearest", inline: "nearest" });
    card.scrollIntoView({ block: "nearest", inline: "nearest" });
    const drop = drops.get(column.dataset.column);
    this.#announce(column === home ? `Back in ${getColumnName(home)}.` : `${getColumnName(column)}: ${getActionLabel(drop.value)}${drop.asks ? ", which asks for details" : ""}.`);
  }

  /** Collapse a column that was opened for the card. */
  #resetColumn() {
    const { columns, at, folded } = this.#keyboardDrag;
    columns[at].removeAttribute("data-aimed");
    if (folded !== null && folded !== undefined) columns[at].setAttribute("data-folded", folded);
    this.#keyboardDrag.folded = null;
  }

  #returnCard() {
    const { card, home, next } = this.#keyboardDrag;
    home.querySelector("[data-cards]").insertBefore(card, next?.isConnected ? next : null);
  }

  #cancelKeyboardDrag() {
    const { card, home } = this.#keyboardDrag;
    this.#resetColumn();
    this.#returnCard();
    this.#endKeyboardDrag();
    getTitleLink(card).focus();
    this.#announce(`${card.dataset.card} is back in ${getColumnName(home)}.`);
  }

  #dropByKeyboard() {
    const { card, columns, at, home, drops, next } = this.#keyboardDrag;
    if (columns[at] === home) return this.#cancelKeyboardDrag();
    columns[at].removeAttribute("data-aimed");
    this.#endKeyboardDrag();
    return this.#dropCard(card, drops.get(columns[at].dataset.column), () => {
      home.querySelector("[data-cards]").insertBefore(card, next?.isConnected ? next : null);
      getTitleLink(card).focus();
    });
  }

  #endKeyboardDrag() {
    this.#endDrag(this.#keyboardDrag.card);
    this.#keyboardDrag = null;
    this.#hint.hidden = true;
  }

  // Both

  #startDrag(card) {
    this.#fragments.hold();
    this.#root.dataset.carrying = "";
    const count = this.#selection.with(card).length;
    if (count > 1) card.dataset.carries = count;
    card.toggleAttribute("data-lifted", true);
    for (const name of mapDropTargets(card).keys()) document.getElementById(`column-${name}`)?.setAttribute("data-takes", "");
  }

  #endDrag(card) {
    this.#fragments.resume();
    delete this.#root.dataset.carrying;
    delete card.dataset.carries;
    card.removeAttribute("data-lifted");
    for (const column of this.#root.querySelectorAll("[data-takes]")) column.removeAttribute("data-takes");
  }

  /** Make the column's move for the card and all cards selected with it. `back` returns the card to its place. */
  async #dropCard(card, { to, move, asks }, back) {
    const tickets = this.#selection.with(card);
    const from = card.dataset.status;
    if (asks || tickets.length > 1) back();
    if (tickets.length > 1) await (asks ? this.#selection.ask(move, tickets) : this.#selection.send("move", move, tickets));
    else if (asks) await openMove(`/ticket/${card.dataset.card}/move/${move}`);
    else await this.#postMove(card, move, to, back);
    this.#onMoved(from, to);
  }

  async #postMove(card, move, to, back) {
    const column = document.getElementById(`column-${to}`);
    column.removeAttribute("data-folded");
    try {
      const { notices } = await postForm(`/ticket/${card.dataset.card}/move`, { move, version: card.dataset.version });
      showNotices(notices);
      this.#announce(`${card.dataset.card} moved to ${getColumnName(column)}.`);
    } catch (refusal) {
      back();
      if (refusal.form) showForm(refusal.form.outerHTML);
      else showError(describeError(refusal));
    }
  }

  #announce(text) {
    this.#announcer.textContent = text;
    this.#hint.textContent = text;
    this.#hint.hidden = this.#keyboardDrag === null;
  }
}
