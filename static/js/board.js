// The board: columns that keep themselves fresh, cards that are carried only where a move allows it.

import { bindKeys } from "./keys.js";
import { openMove } from "./floats.js";
import { say, showNotices } from "./forms.js";
import { announceFresh, morph } from "./fragments.js";
import { shownTickets } from "./live.js";
import { fetchFragment, parseFragment, post } from "./page.js";

const QUIET = 200;
const PAGE = 30;

/** {column: {move, asks}} from "todo:triage waiting:park?"; "?" marks a move that needs to be told something. */
function dropsOf(card) {
  const entries = (card.dataset.drops ?? "").split(" ").filter(Boolean).map((text) => {
    const [column, move] = text.split(":");
    return [column, { move: move.replace("?", ""), asks: move.endsWith("?") }];
  });
  return new Map(entries.reverse()); // The first move of a ticket into a column is the one meant.
}

/** Whether the hand let go over this column: a card stays in the last one that could take it, even when carried on. */
function isOver(column, event) {
  const { clientX, clientY } = event.changedTouches?.[0] ?? event;
  return document.elementFromPoint(clientX, clientY)?.closest("[data-column]") === column;
}

export class Board {
  #root;
  #fragments;
  #stale = new Set();
  #timer = 0;
  #carrying = false;

  constructor(root, stream, fragments) {
    this.#root = root;
    this.#fragments = fragments;
    stream.addEventListener("news", ({ detail }) => this.#hear(detail));
    stream.addEventListener("resync", () => this.#markAll());
    document.addEventListener("mc:sent", () => stream.link !== "live" && this.#markAll());
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("change", () => this.#showSelection());
    document.querySelector("[data-bulk]")?.addEventListener("formdata", ({ formData }) => this.#addSelected(formData));
    document.querySelector("[data-bulk-clear]")?.addEventListener("click", () => this.#clearSelection());
    document.addEventListener("mc:fresh", () => {
      this.#makeSortable();
      stream.follow(shownTickets());
    });
    this.#makeSortable();
    this.#bindKeys();
  }

  // Freshness

  #hear(event) {
    const card = event.ticket && document.getElementById(`card-${event.ticket}`);
    if (event.event_type.startsWith("agent.")) this.#showLiveLine(card, event);
    else if (event.event_type === "ticket_moved") this.#mark(event.payload.from, event.payload.to);
    else if (event.event_type === "ticket_created") this.#mark(event.payload.status ?? event.payload.to ?? "inbox");
    else if (card) this.#mark(card.dataset.status);
  }

  /** The last words of the agent are written at once; the card itself is not read again for them. */
  #showLiveLine(card, { event_type: type, payload }) {
    const words = { "agent.tool_call": payload.title, "agent.text": payload.text, "agent.progress": payload.text }[type];
    const line = card?.querySelector("[data-live-line] .clip");
    if (line && words) line.textContent = words.split("\n", 1)[0].slice(0, 200);
    else if (card && words) this.#mark(card.dataset.status);
  }

  #mark(...columns) {
    for (const column of columns) if (column) this.#stale.add(column);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#refresh(), QUIET);
  }

  #markAll() {
    this.#mark(...[...this.#root.querySelectorAll("[data-column]")].map((column) => column.dataset.column));
  }

  async #refresh() {
    if (this.#carrying) return this.#mark();
    const held = document.activeElement?.closest("[data-card]")?.id;
    const columns = [...this.#stale];
    this.#stale.clear();
    await Promise.all(columns.map((name) => this.#refreshColumn(name)));
    if (held && document.activeElement === document.body) document.querySelector(`#${CSS.escape(held)} .title`)?.focus({ preventScroll: true });
    return this.#showSelection();
  }

  async #refreshColumn(name) {
    const column = document.getElementById(`column-${name}`);
    if (!column) return;
    const query = new URLSearchParams(this.#root.dataset.query);
    const shown = column.querySelectorAll("[data-card]").length;
    if (shown > PAGE) query.set("limit", String(Math.ceil(shown / PAGE) * PAGE));
    try {
      await morph(column, await fetchFragment(`/board/column/${name}?${query}`));
      if (column.dataset.folded === "" && column.querySelector("[data-card]")) column.removeAttribute("data-folded");
    } catch {
      // Stays as it is; the next event reads it again.
    }
  }

  async #loadMore(link) {
    link.setAttribute("aria-disabled", "true");
    try {
      const fresh = parseFragment(await fetchFragment(link.dataset.more));
      const list = link.closest("[data-column]").querySelector("[data-cards]");
      const more = fresh.querySelector("[data-more]");
      const cards = [...fresh.querySelectorAll("[data-card]")];
      list.append(...cards);
      cards[0]?.querySelector(".title").focus();
      if (more) link.replaceWith(more);
      else link.remove();
      announceFresh(list);
    } catch {
      location.assign(link.href);
    }
  }

  #click(event) {
    const more = event.target.closest("[data-more]");
    const fold = event.target.closest("[data-fold]");
    if (more) {
      event.preventDefault();
      this.#loadMore(more);
    } else if (fold) {
      this.#fold(fold.closest("[data-column]"));
    }
  }

  /** Folded "by hand" a column stays so; folded because it was empty, it opens with its first card. */
  #fold(column) {
    if ("folded" in column.dataset) delete column.dataset.folded;
    else column.dataset.folded = "hand";
  }

  // Selection

  #selected() {
    return [...this.#root.querySelectorAll("[data-select]:checked")].map((box) => box.value);
  }

  #addSelected(formData) {
    for (const identifier of this.#selected()) formData.append("tickets", identifier);
  }

  #clearSelection() {
    for (const box of this.#root.querySelectorAll("[data-select]:checked")) box.checked = false;
    this.#showSelection();
  }

  #showSelection() {
    const form = document.querySelector("[data-bulk]");
    const count = this.#selected().length;
    if (!form) return;
    form.hidden = count === 0;
    form.querySelector("[data-bulk-count]").textContent = `${count} selected`;
  }

  // Carrying

  #makeSortable() {
    for (const list of this.#root.querySelectorAll("[data-cards]")) {
      if (Sortable.get(list)) continue;
      Sortable.create(list, {
        group: "board", sort: false, draggable: ".card", filter: ".menu", preventOnFilter: false,
        delay: 220, delayOnTouchOnly: true, touchStartThreshold: 6, animation: 120, ghostClass: "carried",
        onStart: ({ item }) => this.#lift(item),
        onMove: ({ from, to }) => from === to || "takes" in to.closest("[data-column]").dataset,
        onEnd: (event) => this.#drop(event),
      });
    }
  }

  #lift(card) {
    this.#carrying = true;
    this.#fragments.hold();
    this.#root.dataset.carrying = "";
    for (const name of dropsOf(card).keys()) document.getElementById(`column-${name}`)?.setAttribute("data-takes", "");
  }

  async #drop({ item, from, to, oldIndex, originalEvent }) {
    this.#carrying = false;
    this.#fragments.resume();
    delete this.#root.dataset.carrying;
    for (const column of this.#root.querySelectorAll("[data-takes]")) column.removeAttribute("data-takes");
    if (from === to) return;
    const drop = isOver(to.closest("[data-column]"), originalEvent) && dropsOf(item).get(to.dataset.cards);
    const back = () => from.insertBefore(item, from.children[oldIndex] ?? null);
    if (!drop || drop.asks) back();
    if (!drop) return;
    if (drop.asks) {
      openMove(`/ticket/${item.dataset.card}/move/${drop.move}`);
      return;
    }
    to.closest("[data-column]").removeAttribute("data-folded");
    await this.#move(item, drop.move, back);
    this.#mark(from.dataset.cards, to.dataset.cards);
  }

  async #move(card, move, back) {
    try {
      const { notices } = await post(`/ticket/${card.dataset.card}/move`, { move, version: card.dataset.version });
      showNotices(notices);
      document.querySelector("[data-announce]").textContent = `${card.dataset.card}: ${move}`;
    } catch (refusal) {
      back();
      say(refusal.message);
    }
  }

  // Keys

  #bindKeys() {
    bindKeys({
      j: () => this.#step(0, 1),
      k: () => this.#step(0, -1),
      l: () => this.#step(1, 0),
      h: () => this.#step(-1, 0),
      m: () => document.activeElement?.closest("[data-card]")?.querySelector("summary")?.click(),
      x: () => document.activeElement?.closest("[data-card]")?.querySelector("[data-select]")?.click(),
    });
  }

  #step(across, down) {
    const columns = [...this.#root.querySelectorAll(".column:not([data-folded])")].map((column) => [...column.querySelectorAll("[data-card]")]).filter((cards) => cards.length);
    const card = document.activeElement?.closest("[data-card]");
    const x = columns.findIndex((cards) => cards.includes(card));
    const next = x < 0 ? columns[0]?.[0] : this.#neighbour(columns, x, columns[x].indexOf(card), across, down);
    next?.querySelector(".title").focus();
    next?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #neighbour(columns, x, y, across, down) {
    const column = columns[Math.max(0, Math.min(x + across, columns.length - 1))];
    return column[Math.max(0, Math.min(y + down, column.length - 1))];
  }
}
