// The board page: refreshing of its columns, lanes or list, and actions on cards.

import { markBusy } from "../site/loading.js";
import { startCardMenus } from "./card_menu.js";
import { CardDragging } from "./drag_drop.js";
import { Peek } from "./peek.js";
import { startPropertyKeys } from "./property_keys.js";
import { placeTicket } from "./queue_order.js";
import { rememberTrail } from "../ticket/neighbours.js";
import { getTitleLink } from "./cards.js";
import { openMenu } from "../site/dialogs.js";
import { announceNewElements, morph } from "../site/fragments.js";
import { bindKeys, listKeys } from "../site/shortcuts.js";
import { listShownTickets } from "../site/shared_stream.js";
import { animateMoves } from "./animation.js";
import { fetchFragment, parseFragment } from "../site/http.js";
import { Selection } from "./selection.js";

const DEBOUNCE_MS = 200;
const STUCK_REFRESH_MS = 30_000;

export class Board {
  #root;
  #selection;
  #dragging;
  #stale = new Set();
  #timer = 0;

  constructor(root, stream, fragments) {
    this.#root = root;
    this.#selection = new Selection(root);
    this.#dragging = new CardDragging(root, fragments, this.#selection, (...columns) => this.#markStale(...columns));
    stream.addEventListener("news", ({ detail }) => this.#receive(detail));
    stream.addEventListener("resync", () => this.#markAllStale());
    document.addEventListener("mc:sent", ({ detail }) => (stream.link !== "live" || "quick" in detail.form.dataset) && this.#markAllStale());
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("scroll", ({ target }) => this.#loadAhead(target), { capture: true, passive: true });
    document.addEventListener("mc:filtered", () => this.#selection.settle());
    document.addEventListener("mc:fresh", () => stream.follow(listShownTickets()) && this.#markStale("in_progress"));
    startCardMenus();
    addEventListener("load", () => this.#fillColumns());
    this.#bindKeys();
    document.querySelector(".state-tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    // A ticket becomes stuck by time alone, without an event.
    if (root.dataset.view === "lanes") setInterval(() => document.hidden || this.#markAllStale(), STUCK_REFRESH_MS);
  }

  // Refreshing

  #receive(event) {
    const card = event.ticket && document.getElementById(`card-${event.ticket}`);
    if (event.event_type.startsWith("agent.")) this.#showLiveLine(card, event);
    else if (event.event_type === "ticket_moved") this.#markStale(event.payload.from, event.payload.to);
    else if (event.event_type === "ticket_created") this.#markStale(event.payload.status ?? event.payload.to ?? "inbox");
    else if (card) this.#markStale(card.dataset.status);
  }

  /** Update the agent's last line on its card without fetching the card again. */
  #showLiveLine(card, { event_type: type, payload }) {
    const words = { "agent.tool_call": payload.title, "agent.text": payload.text, "agent.progress": payload.text }[type];
    const line = card?.querySelector("[data-live-line] .truncate");
    if (line && words) line.textContent = words.split("\n", 1)[0].slice(0, 200);
    else if (card && (words || /question|approval|plan|request/.test(type))) this.#markStale(card.dataset.status);
  }

  /** Refresh these columns. Lanes and the list are refreshed for any column. */
  #markStale(...columns) {
    const parts = [...this.#root.querySelectorAll("[data-part]")];
    for (const part of parts) if (!part.dataset.column || columns.includes(part.dataset.column)) this.#stale.add(part);
    this.#schedule();
  }

  #markAllStale() {
    for (const part of this.#root.querySelectorAll("[data-part]")) this.#stale.add(part);
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#refresh(), DEBOUNCE_MS);
  }

  /** Pause refreshes while a card is dragged or a menu is open. */
  #isBusy() {
    return this.#dragging.carrying || this.#root.querySelector("details[data-menu][open]");
  }

  async #refresh() {
    if (this.#isBusy()) return this.#schedule();
    const parts = [...this.#stale];
    this.#stale.clear();
    const restoreFocus = saveFocus();
    await Promise.all(parts.map((part) => this.#refreshPart(part)));
    restoreFocus();
    showCounts();
    return this.#selection.settle();
  }

  async #refreshPart(part) {
    const query = new URLSearchParams(this.#root.dataset.query);
    query.set("limit", part.querySelectorAll("[data-card]").length);
    try {
      const html = await fetchFragment(`${part.dataset.part}?${query}`);
      if (this.#isBusy()) {
        this.#stale.add(part);
        this.#schedule();
        return;
      }
      await animateMoves(part, () => morph(part, html));
      if (part.dataset.folded === "" && part.querySelector("[data-card]")) part.removeAttribute("data-folded");
    } catch {
      // The next event fetches it again.
    }
  }

  /** Load more cards before a column is scrolled to its end. When that fails, the link is still there. */
  #loadAhead(list, margin = list.clientHeight) {
    const link = list.closest("[data-part]")?.querySelector("[data-more]:not([aria-disabled])");
    const rest = list.scrollHeight - list.scrollTop - list.clientHeight;
    if (link && rest <= margin) this.#loadMore(link).catch(() => {});
  }

  /** Fill the columns of a window that is higher than the cards with which the board opens. */
  #fillColumns() {
    for (const list of this.#root.querySelectorAll(".column:not([data-folded]) > [data-cards]")) this.#loadAhead(list, 0);
  }

  async #loadMoreByClick(link) {
    try {
      const firstCard = await this.#loadMore(link);
      getTitleLink(firstCard)?.focus();
    } catch {
      location.assign(link.href);
    }
  }

  /** Load the next page of a list. Resolves to its first card. */
  async #loadMore(link) {
    link.setAttribute("aria-disabled", "true");
    const html = parseFragment(await markBusy(link, () => fetchFragment(link.dataset.more)));
    const list = link.closest("[data-part]").querySelector("[data-cards]");
    const moreLink = html.querySelector("[data-more]");
    const cards = [...html.querySelectorAll("[data-card]")];
    list.append(...cards);
    if (moreLink) link.replaceWith(moreLink);
    else link.remove();
    announceNewElements(list);
    return cards[0];
  }

  #click(event) {
    const moreLink = event.target.closest("[data-more]");
    const foldButton = event.target.closest("[data-fold]");
    if (moreLink && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.#loadMoreByClick(moreLink);
    } else if (foldButton) {
      this.#toggleFold(foldButton.closest("[data-column]"));
    }
  }

  /** A column that the user collapsed stays so; one that is collapsed because it was empty opens with its first card. */
  #toggleFold(column) {
    if ("folded" in column.dataset) delete column.dataset.folded;
    else column.dataset.folded = "hand";
  }

  // Keys

  #bindKeys() {
    const isColumns = this.#root.dataset.view === "columns";
    const card = () => document.activeElement?.closest("[data-card]");
    listKeys("Enter", "Space");
    startPropertyKeys({ selected: (focusedCard) => this.#selection.with(focusedCard), without: isColumns ? ["l"] : [] });
    rememberTrail(this.#root);
    if (isColumns) bindKeys({ l: () => this.#moveFocus(1, 0), h: () => this.#moveFocus(-1, 0) });
    else new Peek(this.#root);
    bindKeys({
      j: () => this.#moveFocus(0, 1),
      k: () => this.#moveFocus(0, -1),
      ".": () => this.#openMenu(card()),
      m: () => this.#openMenu(card()),
      "Alt+ArrowUp": () => this.#moveInQueue(card(), "up"),
      "Alt+ArrowDown": () => this.#moveInQueue(card(), "down"),
      v: openNextView,
      x: () => this.#selection.toggle(card()),
      "Shift+X": () => this.#selection.toggle(card(), true),
    });
  }

  async #moveInQueue(card, to) {
    if (card?.dataset.status === "todo" && (await placeTicket(card.dataset.card, { to }))) this.#markStale("todo");
  }

  #openMenu(card) {
    const menu = card?.querySelector("details[data-menu]");
    if (menu) openMenu(menu);
  }

  #moveFocus(across, down) {
    const parts = this.#root.dataset.view === "columns" ? this.#root.querySelectorAll("[data-part]:not([data-folded])") : [this.#root];
    const lists = [...parts].map((part) => [...part.querySelectorAll("[data-card]")]).filter((cards) => cards.length);
    const card = document.activeElement?.closest("[data-card]");
    const x = lists.findIndex((cards) => cards.includes(card));
    const next = x < 0 ? lists[0]?.[0] : findNeighbour(lists, x, lists[x].indexOf(card), across, down);
    getTitleLink(next)?.focus();
    next?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

/** Open the view after the current one: lanes, columns, list. */
function openNextView() {
  const links = [...document.querySelectorAll(".board-bar [data-views] a")];
  const at = links.findIndex((link) => link.hasAttribute("aria-current"));
  links[(at + 1) % links.length].click();
}

/** Copy the counts of columns and lanes to the tabs of a phone. */
function showCounts() {
  for (const tab of document.querySelectorAll("[data-counts]")) {
    const count = document.querySelector(`#${tab.dataset.counts} .count`);
    if (count) tab.querySelector(".count").textContent = count.textContent;
  }
}

function findNeighbour(lists, x, y, across, down) {
  const list = lists[Math.max(0, Math.min(x + across, lists.length - 1))];
  return list[Math.max(0, Math.min(y + down, list.length - 1))];
}

/** Remember the focus on the board. The returned function restores it when the card was rendered again or has left the board. */
function saveFocus() {
  const card = document.activeElement?.closest("[data-card]");
  if (!card) return () => {};
  const part = card.closest("[data-part]");
  const place = [...part.querySelectorAll("[data-card]")].indexOf(card);
  const control = ["summary", "[data-select]"].find((selector) => document.activeElement.matches(selector));
  return () => {
    if (document.activeElement !== document.body) return;
    const refreshedCard = document.getElementById(card.id);
    const target = refreshedCard?.querySelector(control ?? ".title") ?? getTitleLink([...part.querySelectorAll("[data-card]")].at(Math.max(0, place - 1)));
    target?.focus({ preventScroll: true });
  };
}
