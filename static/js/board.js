// The board: parts that keep themselves fresh, whatever is shown of them, and what people do with the cards in them.

import { busy } from "./busy.js";
import { Carrier } from "./carrying.js";
import { titleOf } from "./cards.js";
import { announceFresh, morph } from "./fragments.js";
import { bindKeys, listKeys } from "./keys.js";
import { shownTickets } from "./live.js";
import { glide } from "./motion.js";
import { fetchFragment, parseFragment } from "./page.js";
import { Selection } from "./selection.js";

const QUIET = 200;
const BY_CLOCK = 30_000;

export class Board {
  #root;
  #selection;
  #carrier;
  #stale = new Set();
  #timer = 0;

  constructor(root, stream, fragments) {
    this.#root = root;
    this.#selection = new Selection(root);
    this.#carrier = new Carrier(root, fragments, this.#selection, (...columns) => this.#mark(...columns));
    stream.addEventListener("news", ({ detail }) => this.#hear(detail));
    stream.addEventListener("resync", () => this.#markAll());
    document.addEventListener("mc:sent", ({ detail }) => (stream.link !== "live" || "quick" in detail.form.dataset) && this.#markAll());
    root.addEventListener("click", (event) => this.#click(event));
    document.addEventListener("mc:fresh", () => stream.follow(shownTickets()) && this.#mark("in_progress"));
    this.#bindKeys();
    // What is stuck gets there by the clock alone, and no event tells of it.
    if (root.dataset.view === "lanes") setInterval(() => document.hidden || this.#markAll(), BY_CLOCK);
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
    else if (card && (words || /question|approval|request/.test(type))) this.#mark(card.dataset.status);
  }

  /** Read these columns again; a lane or a list may be concerned by any of them. */
  #mark(...columns) {
    const parts = [...this.#root.querySelectorAll("[data-part]")];
    for (const part of parts) if (!part.dataset.column || columns.includes(part.dataset.column)) this.#stale.add(part);
    this.#schedule();
  }

  #markAll() {
    for (const part of this.#root.querySelectorAll("[data-part]")) this.#stale.add(part);
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#refresh(), QUIET);
  }

  /** While a card is carried or a menu is open, nothing moves under it. */
  #isBusy() {
    return this.#carrier.carrying || this.#root.querySelector("details[data-menu][open]");
  }

  async #refresh() {
    if (this.#isBusy()) return this.#schedule();
    const parts = [...this.#stale];
    this.#stale.clear();
    const hold = holdFocus();
    await Promise.all(parts.map((part) => this.#refreshPart(part)));
    hold();
    return this.#selection.settle();
  }

  async #refreshPart(part) {
    const query = new URLSearchParams(this.#root.dataset.query);
    query.set("limit", part.querySelectorAll("[data-card]").length);
    try {
      const fresh = await fetchFragment(`${part.dataset.part}?${query}`);
      if (this.#isBusy()) {
        this.#stale.add(part);
        this.#schedule();
        return;
      }
      await glide(part, () => morph(part, fresh));
      if (part.dataset.folded === "" && part.querySelector("[data-card]")) part.removeAttribute("data-folded");
    } catch {
      // Stays as it is; the next event reads it again.
    }
  }

  async #loadMore(link) {
    link.setAttribute("aria-disabled", "true");
    try {
      const fresh = parseFragment(await busy(link, () => fetchFragment(link.dataset.more)));
      const list = link.closest("[data-part]").querySelector("[data-cards]");
      const more = fresh.querySelector("[data-more]");
      const cards = [...fresh.querySelectorAll("[data-card]")];
      list.append(...cards);
      titleOf(cards[0])?.focus();
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
    if (more && !event.ctrlKey && !event.metaKey) {
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

  // Keys

  #bindKeys() {
    listKeys("Enter", ...(this.#root.dataset.view === "columns" ? ["Space"] : []));
    const card = () => document.activeElement?.closest("[data-card]");
    bindKeys({
      j: () => this.#step(0, 1),
      k: () => this.#step(0, -1),
      l: () => this.#step(1, 0),
      h: () => this.#step(-1, 0),
      m: () => card()?.querySelector("summary")?.click(),
      x: () => this.#selection.toggle(card()),
      "Shift+X": () => this.#selection.toggle(card(), true),
    });
  }

  #step(across, down) {
    const lists = [...this.#root.querySelectorAll("[data-part]:not([data-folded])")].map((part) => [...part.querySelectorAll("[data-card]")]).filter((cards) => cards.length);
    const card = document.activeElement?.closest("[data-card]");
    const x = lists.findIndex((cards) => cards.includes(card));
    const next = x < 0 ? lists[0]?.[0] : neighbour(lists, x, lists[x].indexOf(card), across, down);
    titleOf(next)?.focus();
    next?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

function neighbour(lists, x, y, across, down) {
  const list = lists[Math.max(0, Math.min(x + across, lists.length - 1))];
  return list[Math.max(0, Math.min(y + down, list.length - 1))];
}

/** Remembers where the focus is on the board; what is returned puts it back when the card was drawn anew, or left the board. */
function holdFocus() {
  const card = document.activeElement?.closest("[data-card]");
  if (!card) return () => {};
  const part = card.closest("[data-part]");
  const place = [...part.querySelectorAll("[data-card]")].indexOf(card);
  const control = ["summary", "[data-select]"].find((selector) => document.activeElement.matches(selector));
  return () => {
    if (document.activeElement !== document.body) return;
    const again = document.getElementById(card.id);
    const target = again?.querySelector(control ?? ".title") ?? titleOf([...part.querySelectorAll("[data-card]")].at(Math.max(0, place - 1)));
    target?.focus({ preventScroll: true });
  };
}
