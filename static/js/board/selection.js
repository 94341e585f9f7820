// Selecting tickets on the board, and the bar of bulk actions, which offers the moves that all of them can make.

import { listMoves } from "./cards.js";
import { openForm } from "../site/dialogs.js";
import { showError, showNotices } from "../site/forms.js";
import { describeError, fetchFragment, postForm } from "../site/http.js";

export class Selection {
  #root;
  #bar = document.getElementById("bulk");
  #selected = new Set();
  #anchor = null;

  constructor(root) {
    this.#root = root;
    root.addEventListener("click", (event) => event.target.matches("[data-select]") && this.#selectBox(event.target, event.shiftKey));
    root.addEventListener("change", ({ target }) => target.matches("[data-select-all]") && this.#selectAll(target));
    this.#bar.addEventListener("submit", (event) => this.#submit(event));
    this.#bar.querySelector("[data-bulk-clear]").addEventListener("click", () => this.clear());
    document.addEventListener("keydown", (event) => event.key === "Escape" && !event.defaultPrevented && this.#clearByKey());
    document.addEventListener("mc:sent", ({ detail }) => "bulkForm" in detail.form.dataset && this.clear());
    this.settle();
  }

  /** The tickets that an action on this card changes: the whole selection, when the card is part of it or there is none. */
  with(card) {
    if (!card) return [...this.#selected];
    return this.#selected.has(card.dataset.card) ? [...this.#selected] : [card.dataset.card];
  }

  toggle(card, upTo = false) {
    const box = card?.querySelector("[data-select]");
    if (!box) return;
    box.checked = upTo || !box.checked;
    this.#selectBox(box, upTo);
  }

  clear() {
    this.#selected.clear();
    this.settle();
  }

  /** After a refresh, select the rendered cards as before, and deselect those that are gone. */
  settle() {
    const boxes = this.#listBoxes();
    const shown = new Set(boxes.map((box) => box.value));
    for (const ticket of this.#selected) if (!shown.has(ticket)) this.#selected.delete(ticket);
    for (const box of boxes) box.checked = this.#selected.has(box.value);
    this.#showSelection();
  }

  /** Apply a move or an edit to tickets, by the name and value of its button. */
  async send(name, value, tickets) {
    const query = this.#root.dataset.query;
    try {
      const { notices } = await postForm("/board/bulk", new URLSearchParams({ [name]: value, tickets: tickets.join(","), query }));
      showNotices(notices);
      this.clear();
      document.dispatchEvent(new CustomEvent("mc:sent", { detail: { form: this.#bar } }));
    } catch (refusal) {
      showError(describeError(refusal));
    }
  }

  /** Show the move's form once for all of them. */
  ask(move, tickets) {
    const query = new URLSearchParams({ move, tickets: tickets.join(","), query: this.#root.dataset.query });
    return openForm(() => fetchFragment(`/board/bulk?${query}`), `/board/bulk?${query}`);
  }

  #listBoxes(root = this.#root) {
    return [...root.querySelectorAll("[data-select]")];
  }

  /** With the shift key, give everything between the last ticked card and this one the state of this one. */
  #selectBox(box, upTo) {
    const boxes = this.#listBoxes(box.closest("[data-part]"));
    const [from, to] = [boxes.indexOf(this.#anchor), boxes.indexOf(box)].sort((one, other) => one - other);
    const range = upTo && from >= 0 ? boxes.slice(from, to + 1) : [box];
    for (const item of range) this.#setSelected(item, box.checked);
    this.#anchor = box;
    this.#showSelection();
  }

  #selectAll(selectAllBox) {
    for (const box of this.#listBoxes(document.getElementById(selectAllBox.dataset.selectAll))) this.#setSelected(box, selectAllBox.checked);
    this.#showSelection();
  }

  #setSelected(box, isSelected) {
    box.checked = isSelected;
    if (isSelected) this.#selected.add(box.value);
    else this.#selected.delete(box.value);
  }

  #clearByKey() {
    if (this.#selected.size && !document.querySelector("dialog[open]") && !document.activeElement?.matches("input:not([type=checkbox]), textarea, select")) this.clear();
  }

  #showSelection() {
    const { size } = this.#selected;
    this.#bar.toggleAttribute("data-some", size > 0);
    this.#bar.querySelector("[data-bulk-count]").textContent = size ? `${size} selected` : "";
    for (const selectAllBox of this.#root.querySelectorAll("[data-select-all]")) showSelectAllState(selectAllBox, this.#listBoxes(document.getElementById(selectAllBox.dataset.selectAll)));
    this.#showMoves();
  }

  /** Return the moves that every selected ticket can make. */
  #showMoves() {
    const cards = [...this.#selected].map((ticket) => document.getElementById(`card-${ticket}`));
    const moveMaps = cards.map((card) => new Map(listMoves(card).map(({ move, asks }) => [move, asks])));
    let hasCommon = false;
    for (const button of this.#bar.querySelectorAll("[data-bulk-move]")) {
      const common = moveMaps.length > 0 && moveMaps.every((moves) => moves.has(button.value));
      button.hidden = !common;
      button.toggleAttribute("data-asks", common && moveMaps.some((moves) => moves.get(button.value)));
      hasCommon ||= common;
    }
    this.#bar.querySelector("[data-bulk-none]").hidden = hasCommon;
  }

  #submit(event) {
    const { name, value, dataset } = event.submitter;
    event.preventDefault();
    event.submitter.closest("details").open = false;
    if ("asks" in dataset) this.ask(value, [...this.#selected]);
    else this.send(name, value, [...this.#selected]);
  }
}

function showSelectAllState(selectAllBox, boxes) {
  const count = boxes.filter((box) => box.checked).length;
  selectAllBox.checked = count > 0 && count === boxes.length;
  selectAllBox.indeterminate = count > 0 && count < boxes.length;
}
