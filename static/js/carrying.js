// Cards are carried to another column, by hand or by the keyboard, only where a move allows it.
//   Space picks the card in focus up, the arrows choose the column, Enter or Space drops it, Escape puts it back.

import { dropsOf, labelOf, titleOf } from "./cards.js";
import { openMove } from "./floats.js";
import { say, showNotices } from "./forms.js";
import { post } from "./page.js";

/** Whether the hand let go over this column: a card stays in the last one that could take it, even when carried on. */
function isOver(column, event) {
  const { clientX, clientY } = event.changedTouches?.[0] ?? event;
  return document.elementFromPoint(clientX, clientY)?.closest("[data-column]") === column;
}

function nameOf(column) {
  return column.querySelector(".word").textContent;
}

export class Carrier {
  #root;
  #fragments;
  #selection;
  #moved;
  #carried = null; // by the keyboard: {card, home, next, columns, at, folded}
  #byHand = false;
  #announcer = document.querySelector("[data-announce]");
  #hint = document.querySelector("[data-carry-hint]"); // the same for those who see it, while a card is in the air

  /** `moved(...columns)` is called when a card has changed its column. */
  constructor(root, fragments, selection, moved) {
    this.#root = root;
    this.#fragments = fragments;
    this.#selection = selection;
    this.#moved = moved;
    this.#makeSortable();
    document.addEventListener("mc:fresh", () => this.#makeSortable());
    document.addEventListener("keydown", (event) => this.#key(event), true);
    root.addEventListener("focusout", ({ target }) => setTimeout(() => this.#carried && document.activeElement !== target && document.activeElement !== titleOf(this.#carried.card) && this.#putBack()));
  }

  get carrying() {
    return this.#byHand || this.#carried !== null;
  }

  // By hand

  #makeSortable() {
    for (const list of this.#root.querySelectorAll("[data-column] [data-cards]")) {
      if (Sortable.get(list)) continue;
      Sortable.create(list, {
        group: "board", sort: false, draggable: ".card", filter: ".menu, .pick", preventOnFilter: false,
        delay: 220, delayOnTouchOnly: true, touchStartThreshold: 6, animation: 120, ghostClass: "carried", scrollSensitivity: 60,
        onStart: ({ item }) => this.#begin(item),
        onMove: ({ from, to }) => from === to || "takes" in to.closest("[data-column]").dataset,
        onEnd: (event) => this.#end(event),
      });
    }
  }

  #begin(card) {
    this.#byHand = true;
    this.#lift(card);
  }

  #end({ item, from, to, oldIndex, originalEvent }) {
    this.#byHand = false;
    this.#lower(item);
    if (from === to) return;
    const drop = isOver(to.closest("[data-column]"), originalEvent) && dropsOf(item).get(to.dataset.cards);
    const back = () => from.insertBefore(item, from.children[oldIndex] ?? null);
    if (drop) this.#drop(item, drop, back);
    else back();
  }

  // By the keyboard

  #key(event) {
    if (this.#carried) this.#steer(event);
    else if (event.key === " " && event.target.matches?.("[data-column] .title")) this.#pickUp(event);
  }

  #pickUp(event) {
    const card = event.target.closest("[data-card]");
    const drops = dropsOf(card);
    event.preventDefault();
    if (!drops.size) return this.#say(`${card.dataset.card} cannot be moved.`);
    const home = card.closest("[data-column]");
    const columns = [...this.#root.querySelectorAll("[data-column]")].filter((column) => column === home || drops.has(column.dataset.column));
    this.#carried = { card, home, next: card.nextElementSibling, columns, at: columns.indexOf(home), drops };
    this.#lift(card);
    const names = columns.filter((column) => column !== home).map(nameOf).join(", ");
    return this.#say(`${card.dataset.card} picked up from ${nameOf(home)}. The arrow keys choose a column: ${names}. Enter drops it, Escape puts it back.`);
  }

  #steer(event) {
    const act = { ArrowRight: () => this.#aim(1), ArrowLeft: () => this.#aim(-1), ArrowUp: () => {}, ArrowDown: () => {}, Enter: () => this.#letGo(), " ": () => this.#letGo(), Escape: () => this.#putBack() }[event.key];
    if (!act && event.key !== "Tab") return event.stopImmediatePropagation();
    event.preventDefault();
    event.stopImmediatePropagation();
    return act?.();
  }

  #aim(step) {
    const { card, home, columns, drops } = this.#carried;
    const at = Math.max(0, Math.min(this.#carried.at + step, columns.length - 1));
    this.#leaveColumn();
    this.#carried.at = at;
    const column = columns[at];
    this.#carried.folded = column.getAttribute("data-folded");
    column.removeAttribute("data-folded");
    column.setAttribute("data-aimed", "");
    if (column === home) this.#goHome();
    else column.querySelector("[data-cards]").prepend(card);
    titleOf(card).focus({ preventScroll: true });
    column.scrollIntoView({ block: "nearest", inline: "nearest" });
    card.scrollIntoView({ block: "nearest", inline: "nearest" });
    const drop = drops.get(column.dataset.column);
    this.#say(column === home ? `Back in ${nameOf(home)}.` : `${nameOf(column)}: ${labelOf(card, drop.move)}${drop.asks ? ", which asks for more" : ""}.`);
  }

  /** A column that was opened for the card folds again. */
  #leaveColumn() {
    const { columns, at, folded } = this.#carried;
    columns[at].removeAttribute("data-aimed");
    if (folded !== null && folded !== undefined) columns[at].setAttribute("data-folded", folded);
    this.#carried.folded = null;
  }

  #goHome() {
    const { card, home, next } = this.#carried;
    home.querySelector("[data-cards]").insertBefore(card, next?.isConnected ? next : null);
  }

  #putBack() {
    const { card, home } = this.#carried;
    this.#leaveColumn();
    this.#goHome();
    this.#settle();
    titleOf(card).focus();
    this.#say(`${card.dataset.card} is back in ${nameOf(home)}.`);
  }

  #letGo() {
    const { card, columns, at, home, drops, next } = this.#carried;
    if (columns[at] === home) return this.#putBack();
    columns[at].removeAttribute("data-aimed");
    this.#settle();
    return this.#drop(card, drops.get(columns[at].dataset.column), () => {
      home.querySelector("[data-cards]").insertBefore(card, next?.isConnected ? next : null);
      titleOf(card).focus();
    });
  }

  #settle() {
    this.#lower(this.#carried.card);
    this.#carried = null;
    this.#hint.hidden = true;
  }

  // Both

  #lift(card) {
    this.#fragments.hold();
    this.#root.dataset.carrying = "";
    const count = this.#selection.with(card).length;
    if (count > 1) card.dataset.carries = count;
    card.toggleAttribute("data-lifted", true);
    for (const name of dropsOf(card).keys()) document.getElementById(`column-${name}`)?.setAttribute("data-takes", "");
  }

  #lower(card) {
    this.#fragments.resume();
    delete this.#root.dataset.carrying;
    delete card.dataset.carries;
    card.removeAttribute("data-lifted");
    for (const column of this.#root.querySelectorAll("[data-takes]")) column.removeAttribute("data-takes");
  }

  /** Make the move that the column stands for, for all that are selected with the card; `back` puts the card where it was. */
  async #drop(card, { to, move, asks }, back) {
    const tickets = this.#selection.with(card);
    const from = card.dataset.status;
    if (asks || tickets.length > 1) back();
    if (tickets.length > 1) await (asks ? this.#selection.ask(move, tickets) : this.#selection.send("move", move, tickets));
    else if (asks) await openMove(`/ticket/${card.dataset.card}/move/${move}`);
    else await this.#move(card, move, to, back);
    this.#moved(from, to);
  }

  async #move(card, move, to, back) {
    const column = document.getElementById(`column-${to}`);
    column.removeAttribute("data-folded");
    try {
      const { notices } = await post(`/ticket/${card.dataset.card}/move`, { move, version: card.dataset.version });
      showNotices(notices);
      this.#say(`${card.dataset.card} is in ${nameOf(column)} now.`);
    } catch (refusal) {
      back();
      say(refusal.message);
    }
  }

  #say(words) {
    this.#announcer.textContent = words;
    this.#hint.textContent = words;
    this.#hint.hidden = this.#carried === null;
  }
}
