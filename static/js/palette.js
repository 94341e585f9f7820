// "/" or Ctrl+K: a page, a ticket, or something to do. What the page knows is there at once; tickets that the server
// knows come while somebody is still typing.

import { loading } from "./busy.js";
import { commands, noteTicket, ticketItem } from "./commands.js";
import { element } from "./element.js";
import { openDialog } from "./floats.js";
import { score } from "./fuzzy.js";
import { fetchJson } from "./page.js";
import { Store } from "./store.js";

const QUIET = 160;
const FOUND = 6;
const RECENT = 5;
const MOST = 6; // of a group, unless nothing was typed
const RESTING = { Tickets: 5 };
const TICKET = /^[a-z]{2,8}-\d+$|^\d+$/i;
const chosen = new Store("chosen");

/** What holds the words, the best first; what was chosen before has a start. */
function matching(items, words, before) {
  const rated = items.map((item) => ({ item, worth: score(item.label, words) })).filter(({ worth }) => worth > 0);
  for (const each of rated) if (before.includes(each.item.id)) each.worth += 1;
  return rated.sort((one, other) => other.worth - one.worth).map(({ item }) => item);
}

/** Nothing was typed: what was chosen before, then all there is, in its order; not the page that is shown. */
function resting(items, before) {
  const other = items.filter(({ href }) => href !== location.pathname + location.search);
  const again = before.map((id) => other.find((item) => item.id === id)).filter(Boolean);
  const rest = other.filter((item) => !again.includes(item));
  return [...(again.length ? [["Chosen before", again]] : []), ...Object.entries(Object.groupBy(rest, ({ group }) => group))];
}

/** A number leads to its ticket, whether or not it is known. */
function numbered(words, known) {
  if (!TICKET.test(words)) return [];
  const item = ticketItem({ ticket: /^\d+$/.test(words) ? `MC-${words}` : words.toUpperCase(), title: "" });
  return [known.find(({ id }) => id === item.id) ?? item];
}

function once(items) {
  return items.filter(({ id }, place) => items.findIndex((item) => item.id === id) === place);
}

export class Palette {
  #dialog = document.getElementById("palette");
  #input = document.getElementById("palette-q");
  #list = document.getElementById("palette-list");
  #told = this.#dialog.querySelector("[data-answer]");
  #unreached = this.#dialog.querySelector("[data-unreached]");
  #known = [];
  #found = [];
  #recent = null; // of the server, asked for when the palette is first opened
  #options = [];
  #at = 0;
  #timer = 0;
  #frame = 0;

  constructor() {
    noteTicket();
    this.#input.addEventListener("input", () => this.#change());
    this.#input.addEventListener("keydown", (event) => this.#walk(event));
    this.#input.form.addEventListener("submit", (event) => this.#options.length && event.preventDefault());
    this.#list.addEventListener("click", (event) => this.#go(event.target.closest("[role=option]"), event));
    document.addEventListener("click", (event) => {
      if (!event.target.closest("[data-palette]") || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.open();
    });
  }

  open() {
    this.#known = commands();
    this.#options = [];
    openDialog("palette");
    this.#input.select();
    this.#fill();
    if (!this.#recent) this.#askRecent();
  }

  // What is found

  async #askRecent() {
    this.#recent = [];
    const { items } = await fetchJson("/api/v1/tickets?limit=8").catch(() => ({ items: [] }));
    this.#recent = items.map(({ identifier, title }) => ticketItem({ ticket: identifier, title }));
    this.#fill();
  }

  #change() {
    this.#options = [];
    this.#found = [];
    this.#told.replaceChildren();
    this.#fill();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#search(this.#input.value.trim()), QUIET);
  }

  async #search(words) {
    if (words.length < 2) return;
    this.#told.replaceChildren(loading("Looking for tickets…"));
    const answer = await fetchJson(`/api/v1/search?${new URLSearchParams({ q: words, limit: FOUND })}`).catch(() => null);
    if (words !== this.#input.value.trim()) return;
    this.#told.replaceChildren(...(answer ? [] : [this.#unreached.content.cloneNode(true)]));
    const { items } = answer ?? { items: [] };
    this.#found = items.slice(0, FOUND).map((hit) => ({ ...ticketItem(hit), id: `at ${hit.href}`, href: hit.href, ...(hit.kind === "ticket" ? {} : { label: `${hit.ticket} ${hit.title} (${hit.kind})` }) }));
    this.#fill();
  }

  /** Groups of items, the best first: [[title, [item]]]. */
  #groups(words) {
    const before = chosen.read();
    const items = once([...this.#known, ...(this.#recent ?? [])]);
    if (!words) return resting(items, before);
    const { Tickets: tickets = [], ...others } = Object.groupBy(matching(items, words, before), ({ group }) => group);
    const named = numbered(words, [...tickets, ...this.#found]);
    const all = ["Tickets", once([...named, ...tickets, ...this.#found])];
    const rest = Object.entries(others);
    const search = ["Search", [{ id: "search", group: "Search", label: `Search for “${words}”`, href: `/search?q=${encodeURIComponent(words)}` }]];
    return [...(named.length ? [all, ...rest] : [...rest, all]), search].filter(([, found]) => found.length);
  }

  // How it is shown

  /** What is chosen stays so when more is found. */
  #fill() {
    const held = this.#options[this.#at]?.item.id;
    this.#options = [];
    const groups = this.#groups(this.#input.value.trim()).map(([title, items], number) => this.#group(title, items, `palette-group-${number}`));
    this.#list.replaceChildren(...groups);
    this.#input.setAttribute("aria-expanded", String(this.#options.length > 0));
    this.#dialog.querySelector("[data-count]").textContent = `${this.#options.length} to choose from`;
    this.#choose(Math.max(0, this.#options.findIndex(({ item }) => item.id === held)));
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => setTimeout(() => this.#draw()));
  }

  /** Icons cost most of the time that it takes to show a list: they come a frame later, into places that are kept for them. */
  #draw() {
    for (const { option, item } of this.#options) {
      const icons = this.#dialog.querySelector(`[data-icon="${item.group}"]`) ?? this.#dialog.querySelector("[data-icon='']");
      const icon = item.icon ?? icons.content.firstElementChild;
      option.firstElementChild.replaceWith(icon.cloneNode(true));
    }
  }

  #group(title, items, id) {
    const group = element("div", { role: "group" }, element("p", { className: "title", id }, title));
    group.setAttribute("aria-labelledby", id);
    const most = this.#input.value.trim() ? MOST : RESTING[title];
    group.append(...items.slice(0, most).map((item) => this.#option(item)));
    return group;
  }

  #option(item) {
    const label = element("span", { className: "clip" }, item.label);
    const option = element("div", { role: "option", id: `palette-${this.#options.length}` }, element("i", { className: "icon" }), label);
    if (item.hint) option.append(element("span", { className: "push nowrap" }, ...item.hint.split(" ").map((cap) => element("kbd", {}, cap))));
    this.#options.push({ option, item });
    return option;
  }

  #choose(at) {
    this.#at = Math.max(0, Math.min(at, this.#options.length - 1));
    for (const [place, { option }] of this.#options.entries()) option.setAttribute("aria-selected", String(place === this.#at));
    const { option } = this.#options[this.#at] ?? {};
    this.#input.setAttribute("aria-activedescendant", option?.id ?? "");
    option?.scrollIntoView({ block: "nearest" });
  }

  #walk(event) {
    const count = this.#options.length;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && count) this.#choose((this.#at + step + count) % count);
    else if (event.key === "Enter" && count) this.#go(this.#options[this.#at].option, event);
    else return;
    event.preventDefault();
  }

  #go(option, event) {
    const item = this.#options.find((each) => each.option === option)?.item;
    if (!item) return;
    if (item.id !== "search") chosen.first(item.id, RECENT, (other) => other === item.id);
    if (item.href && (event.ctrlKey || event.metaKey)) {
      window.open(item.href);
      return;
    }
    this.#dialog.close();
    this.#input.value = "";
    this.#told.replaceChildren();
    if (item.href) location.assign(item.href);
    else item.run();
  }
}
