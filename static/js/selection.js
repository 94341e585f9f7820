// Selecting tickets on the board, and what can be done with all of them at once: the bar offers what each of them can do.

import { movesOf } from "./cards.js";
import { openForm } from "./floats.js";
import { say, showNotices } from "./forms.js";
import { fetchFragment, post } from "./page.js";

export class Selection {
  #root;
  #bar = document.getElementById("bulk");
  #chosen = new Set();
  #anchor = null;

  constructor(root) {
    this.#root = root;
    root.addEventListener("click", (event) => event.target.matches("[data-select]") && this.#choose(event.target, event.shiftKey));
    root.addEventListener("change", ({ target }) => target.matches("[data-select-all]") && this.#chooseAll(target));
    this.#bar.addEventListener("submit", (event) => this.#submit(event));
    this.#bar.querySelector("[data-bulk-clear]").addEventListener("click", () => this.clear());
    document.addEventListener("keydown", (event) => event.key === "Escape" && !event.defaultPrevented && this.#escape());
    document.addEventListener("mc:sent", ({ detail }) => "bulkForm" in detail.form.dataset && this.clear());
    this.settle();
  }

  /** The tickets to which something done to this card is done: all that are selected, where it is one of them. */
  with(card) {
    return this.#chosen.has(card.dataset.card) ? [...this.#chosen] : [card.dataset.card];
  }

  toggle(card, upTo = false) {
    const box = card?.querySelector("[data-select]");
    if (!box) return;
    box.checked = upTo || !box.checked;
    this.#choose(box, upTo);
  }

  clear() {
    this.#chosen.clear();
    this.settle();
  }

  /** After a refresh: what was drawn anew is as selected as before, and what is not shown any more is not selected. */
  settle() {
    const boxes = this.#boxes();
    const shown = new Set(boxes.map((box) => box.value));
    for (const ticket of this.#chosen) if (!shown.has(ticket)) this.#chosen.delete(ticket);
    for (const box of boxes) box.checked = this.#chosen.has(box.value);
    this.#show();
  }

  /** Do something to tickets at once: a move, or an edit, by the name and value of its button. */
  async send(name, value, tickets) {
    const query = this.#root.dataset.query;
    try {
      const { notices } = await post("/board/bulk", new URLSearchParams({ [name]: value, tickets: tickets.join(","), query }));
      showNotices(notices);
      this.clear();
      document.dispatchEvent(new CustomEvent("mc:sent", { detail: { form: this.#bar } }));
    } catch (refusal) {
      say(refusal.message);
    }
  }

  /** Ask once for all of them what a move must be told. */
  ask(move, tickets) {
    const query = new URLSearchParams({ move, tickets: tickets.join(","), query: this.#root.dataset.query });
    return openForm(() => fetchFragment(`/board/bulk?${query}`), `/board/bulk?${query}`);
  }

  #boxes(root = this.#root) {
    return [...root.querySelectorAll("[data-select]")];
  }

  /** With the shift key everything between the last one that was ticked and this one is as this one. */
  #choose(box, upTo) {
    const boxes = this.#boxes(box.closest("[data-part]"));
    const [from, to] = [boxes.indexOf(this.#anchor), boxes.indexOf(box)].sort((one, other) => one - other);
    const meant = upTo && from >= 0 ? boxes.slice(from, to + 1) : [box];
    for (const each of meant) this.#mark(each, box.checked);
    this.#anchor = box;
    this.#show();
  }

  #chooseAll(all) {
    for (const box of this.#boxes(document.getElementById(all.dataset.selectAll))) this.#mark(box, all.checked);
    this.#show();
  }

  #mark(box, chosen) {
    box.checked = chosen;
    if (chosen) this.#chosen.add(box.value);
    else this.#chosen.delete(box.value);
  }

  #escape() {
    if (this.#chosen.size && !document.querySelector("dialog[open]") && !document.activeElement?.matches("input:not([type=checkbox]), textarea, select")) this.clear();
  }

  #show() {
    const { size } = this.#chosen;
    this.#bar.toggleAttribute("data-some", size > 0);
    this.#bar.querySelector("[data-bulk-count]").textContent = size ? `${size} selected` : "";
    for (const all of this.#root.querySelectorAll("[data-select-all]")) showShare(all, this.#boxes(document.getElementById(all.dataset.selectAll)));
    this.#offer();
  }

  /** The moves that every selected ticket can make. */
  #offer() {
    const cards = [...this.#chosen].map((ticket) => document.getElementById(`card-${ticket}`));
    const each = cards.map((card) => new Map(movesOf(card).map(({ move, asks }) => [move, asks])));
    let some = false;
    for (const button of this.#bar.querySelectorAll("[data-bulk-move]")) {
      const common = each.length > 0 && each.every((moves) => moves.has(button.value));
      button.hidden = !common;
      button.toggleAttribute("data-asks", common && each.some((moves) => moves.get(button.value)));
      some ||= common;
    }
    this.#bar.querySelector("[data-bulk-none]").hidden = some;
  }

  #submit(event) {
    const { name, value, dataset } = event.submitter;
    event.preventDefault();
    event.submitter.closest("details").open = false;
    if ("asks" in dataset) this.ask(value, [...this.#chosen]);
    else this.send(name, value, [...this.#chosen]);
  }
}

function showShare(all, boxes) {
  const count = boxes.filter((box) => box.checked).length;
  all.checked = count > 0 && count === boxes.length;
  all.indeterminate = count > 0 && count < boxes.length;
}
