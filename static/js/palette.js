// "/" or Ctrl+K: jump to a page or a ticket; what else has the words is found while they are typed.

import { openDialog } from "./floats.js";

const QUIET = 160;
const SHOWN = 6;

const TICKET = /^[a-z]{2,8}-?\d+$|^\d+$/i;

export class Palette {
  #input = document.getElementById("palette-q");
  #list = document.getElementById("palette-list");
  #places = [...document.querySelectorAll(".rail .item[href]")].map((link) => ({
    label: link.querySelector(".word").textContent,
    href: link.href,
    icon: link.querySelector(".icon").cloneNode(true),
  }));
  #chosen = 0;
  #found = [];
  #timer = 0;

  constructor() {
    this.#input.addEventListener("input", () => this.#change());
    this.#input.addEventListener("keydown", (event) => this.#walk(event));
    this.#list.addEventListener("click", ({ target }) => this.#go(target.closest("li")));
    document.addEventListener("click", (event) => {
      if (!event.target.closest("[data-palette]") || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.open();
    });
  }

  open() {
    openDialog("palette");
    this.#input.select();
    this.#fill();
  }

  #change() {
    this.#fill();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#find(this.#input.value.trim()), QUIET);
  }

  /** Tickets and comments with these words; nothing of them when the server is not reached. */
  async #find(words) {
    this.#found = [];
    if (words.length > 1) {
      const answer = await fetch(`/api/v1/search?${new URLSearchParams({ q: words, limit: SHOWN })}`).catch(() => null);
      const items = answer?.ok ? (await answer.json()).items : [];
      this.#found = items.slice(0, SHOWN).map(({ kind, ticket, title, href }) => ({ label: `${ticket} ${title}${kind === "comment" ? " (comment)" : ""}`, href }));
    }
    if (words === this.#input.value.trim()) this.#fill();
  }

  #matches() {
    const words = this.#input.value.trim();
    const found = this.#places.filter(({ label }) => label.toLowerCase().includes(words.toLowerCase()));
    if (TICKET.test(words)) found.unshift({ label: `Ticket ${words.toUpperCase()}`, href: `/ticket/${encodeURIComponent(words.toUpperCase())}` });
    if (words) found.push(...this.#found, { label: `Search for “${words}”`, href: `/search?q=${encodeURIComponent(words)}` });
    return found;
  }

  #fill() {
    this.#list.replaceChildren(...this.#matches().map(({ label, href, icon }, index) => {
      const item = document.createElement("li");
      item.id = `palette-${index}`;
      item.setAttribute("role", "option");
      item.dataset.href = href;
      if (icon) item.append(icon.cloneNode(true));
      item.append(label);
      return item;
    }));
    this.#choose(0);
  }

  #choose(index) {
    const items = [...this.#list.children];
    this.#chosen = Math.max(0, Math.min(index, items.length - 1));
    for (const [place, item] of items.entries()) item.setAttribute("aria-selected", String(place === this.#chosen));
    this.#input.setAttribute("aria-activedescendant", items[this.#chosen]?.id ?? "");
    items[this.#chosen]?.scrollIntoView({ block: "nearest" });
  }

  #walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.#choose(this.#chosen + step);
    else if (event.key === "Enter") this.#go(this.#list.children[this.#chosen]);
    else return;
    event.preventDefault();
  }

  #go(item) {
    if (item) location.assign(item.dataset.href);
  }
}
