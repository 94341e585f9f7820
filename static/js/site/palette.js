// "/" or Ctrl+K: pages, tickets and commands. Local items appear at once, the server's tickets while the user types.

import { buildLoadingLine } from "./loading.js";
import { listCommands, rememberTicket, buildTicketItem } from "./commands.js";
import { createElement } from "./element.js";
import { openDialog } from "./dialogs.js";
import { scoreMatch } from "./fuzzy.js";
import { fetchJson } from "./http.js";
import { RecentList } from "./recent_list.js";

const DEBOUNCE_MS = 160;
const MAX_RESULTS = 6;
const MAX_RECENT = 5;
const MAX_GROUP_SIZE = 6; // of a group, unless nothing was typed
const IDLE_GROUP_LIMITS = { Tickets: 5 };
const TICKET = /^[a-z]{2,8}-\d+$|^\d+$/i;
const recentChoices = new RecentList("chosen");

/** Find matching items, best first. Recently chosen ones get a bonus. */
function rankItems(items, words, before) {
  const scoredItems = items.map((item) => ({ item, worth: scoreMatch(item.label, words) })).filter(({ worth }) => worth > 0);
  for (const scored of scoredItems) if (before.includes(scored.item.id)) scored.worth += 1;
  return scoredItems.sort((one, other) => other.worth - one.worth).map(({ item }) => item);
}

/** Rate the best match among items. */
function rateBest(items, words) {
  return Math.max(0, ...items.map(({ label }) => scoreMatch(label, words)));
}

/** Without text: the recently chosen items, then all others in their order, except for the current page. */
function groupIdle(items, before) {
  const other = items.filter(({ href }) => href !== location.pathname + location.search);
  const previousItems = before.map((id) => other.find((item) => item.id === id)).filter(Boolean);
  const rest = other.filter((item) => !previousItems.includes(item));
  return [...(previousItems.length ? [["Recent", previousItems]] : []), ...Object.entries(Object.groupBy(rest, ({ group }) => group))];
}

/** Build an item for a ticket's number, even when the ticket is not listed. */
function findNumberedTicket(words, knownItems) {
  if (!TICKET.test(words)) return [];
  const item = buildTicketItem({ ticket: /^\d+$/.test(words) ? `MC-${words}` : words.toUpperCase(), title: "" });
  return [knownItems.find(({ id }) => id === item.id) ?? item];
}

function removeDuplicates(items) {
  return items.filter(({ id }, place) => items.findIndex((item) => item.id === id) === place);
}

export class Palette {
  #dialog = document.getElementById("palette");
  #input = document.getElementById("palette-q");
  #list = document.getElementById("palette-list");
  #status = this.#dialog.querySelector("[data-answer]");
  #unreached = this.#dialog.querySelector("[data-unreached]");
  #pageItems = [];
  #foundItems = [];
  #recentTickets = null; // of the server, asked for when the palette is first opened
  #options = [];
  #selectedIndex = 0;
  #isMoved = false; // whether the user has moved the selection since typing
  #timer = 0;
  #frame = 0;

  constructor() {
    rememberTicket();
    this.#input.addEventListener("input", () => this.#change());
    this.#input.addEventListener("keydown", (event) => this.#handleKey(event));
    this.#input.form.addEventListener("submit", (event) => this.#options.length && event.preventDefault());
    this.#list.addEventListener("click", (event) => this.#activate(event.target.closest("[role=option]"), event));
    document.addEventListener("click", (event) => {
      if (!event.target.closest("[data-palette]") || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.open();
    });
  }

  open() {
    this.#pageItems = listCommands();
    this.#options = [];
    this.#isMoved = false;
    openDialog("palette");
    this.#input.select();
    this.#showItems();
    if (!this.#recentTickets) this.#fetchRecent();
  }

  // Results

  async #fetchRecent() {
    this.#recentTickets = [];
    const { items } = await fetchJson("/api/v1/tickets?limit=8").catch(() => ({ items: [] }));
    this.#recentTickets = items.map(({ identifier, title, status }) => buildTicketItem({ ticket: identifier, title, status }));
    this.#showItems();
  }

  #change() {
    this.#options = [];
    this.#isMoved = false;
    this.#foundItems = [];
    this.#status.replaceChildren();
    this.#showItems();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#search(this.#input.value.trim()), DEBOUNCE_MS);
  }

  async #search(words) {
    if (words.length < 2) return;
    this.#status.replaceChildren(buildLoadingLine("Searching tickets…"));
    const answer = await fetchJson(`/api/v1/search?${new URLSearchParams({ q: words, limit: MAX_RESULTS })}`).catch(() => null);
    if (words !== this.#input.value.trim()) return;
    this.#status.replaceChildren(...(answer ? [] : [this.#unreached.content.cloneNode(true)]));
    const { items } = answer ?? { items: [] };
    this.#foundItems = items.slice(0, MAX_RESULTS).map((hit) => ({ ...buildTicketItem(hit), id: `at ${hit.href}`, href: hit.href, ...(hit.kind === "ticket" ? {} : { label: `${hit.ticket} ${hit.title} (${hit.kind})` }) }));
    this.#showItems();
  }

  /** Group items, best group first: [[title, [item]]]. */
  #groups(words) {
    const before = recentChoices.read();
    const items = removeDuplicates([...this.#pageItems, ...(this.#recentTickets ?? [])]);
    if (!words) return groupIdle(items, before);
    const { Tickets: tickets = [], ...others } = Object.groupBy(rankItems([...items, ...this.#foundItems], words, before), ({ group }) => group);
    const numberedItems = findNumberedTicket(words, [...tickets, ...this.#foundItems]);
    const ticketGroup = ["Tickets", removeDuplicates([...numberedItems, ...tickets, ...this.#foundItems])];
    const rest = Object.entries(others);
    const search = ["Search", [{ id: "search", group: "Search", label: `Search for “${words}”`, href: `/search?q=${encodeURIComponent(words)}` }]];
    const isTicketFirst = numberedItems.length || rateBest(tickets, words) > rateBest(Object.values(others).flat(), words);
    return [...(isTicketFirst ? [ticketGroup, ...rest] : [...rest, ticketGroup]), search].filter(([, found]) => found.length);
  }

  // Rendering

  /** Select the first item, or keep the selected one when more results arrive after the user has moved. */
  #showItems() {
    const selectedId = this.#isMoved ? this.#options[this.#selectedIndex]?.item.id : null;
    this.#options = [];
    const groups = this.#groups(this.#input.value.trim()).map(([title, items], number) => this.#group(title, items, `palette-group-${number}`));
    this.#list.replaceChildren(...groups);
    this.#input.setAttribute("aria-expanded", String(this.#options.length > 0));
    this.#dialog.querySelector("[data-count]").textContent = `${this.#options.length} to choose from`;
    this.#select(Math.max(0, this.#options.findIndex(({ item }) => item.id === selectedId)));
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => setTimeout(() => this.#showIcons()));
  }

  /** Insert icons a frame later, into reserved places, since they take most of the time to render a list. */
  #showIcons() {
    for (const { option, item } of this.#options) {
      const icons = this.#dialog.querySelector(`[data-icon="${item.group}"]`) ?? this.#dialog.querySelector("[data-icon='']");
      const stateIcon = item.status && this.#dialog.querySelector(`[data-status="${item.status}"]`);
      const icon = item.icon ?? (stateIcon || icons).content.firstElementChild;
      option.firstElementChild.replaceWith(icon.cloneNode(true));
    }
  }

  #group(title, items, id) {
    const group = createElement("div", { role: "group" }, createElement("p", { className: "title", id }, title));
    group.setAttribute("aria-labelledby", id);
    const limit = this.#input.value.trim() ? MAX_GROUP_SIZE : IDLE_GROUP_LIMITS[title];
    group.append(...items.slice(0, limit).map((item) => this.#option(item)));
    return group;
  }

  #option(item) {
    const label = createElement("span", { className: "truncate", dir: "auto" }, item.label);
    const option = createElement("div", { role: "option", id: `palette-${this.#options.length}` }, createElement("i", { className: "icon" }), label);
    if (item.hint) option.append(createElement("span", { className: "push nowrap" }, ...item.hint.split(" ").map((cap) => createElement("kbd", {}, cap))));
    this.#options.push({ option, item });
    return option;
  }

  #select(at) {
    this.#selectedIndex = Math.max(0, Math.min(at, this.#options.length - 1));
    for (const [place, { option }] of this.#options.entries()) option.setAttribute("aria-selected", String(place === this.#selectedIndex));
    const { option } = this.#options[this.#selectedIndex] ?? {};
    this.#input.setAttribute("aria-activedescendant", option?.id ?? "");
    option?.scrollIntoView({ block: "nearest" });
  }

  #handleKey(event) {
    const count = this.#options.length;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && count) {
      this.#isMoved = true;
      this.#select((this.#selectedIndex + step + count) % count);
    } else if (event.key === "Enter" && count) this.#activate(this.#options[this.#selectedIndex].option, event);
    else return;
    event.preventDefault();
  }

  #activate(option, event) {
    const item = this.#options.find((entry) => entry.option === option)?.item;
    if (!item) return;
    if (item.id !== "search") recentChoices.putFirst(item.id, MAX_RECENT, (other) => other === item.id);
    if (item.href && (event.ctrlKey || event.metaKey)) {
      window.open(item.href);
      return;
    }
    this.#dialog.close();
    this.#input.value = "";
    this.#status.replaceChildren();
    if (item.href) location.assign(item.href);
    else item.run();
  }
}
