// "/" or Ctrl+K: jump to a page or a ticket, else search for the words.

import { openDialog } from "./floats.js";

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

  constructor() {
    this.#input.addEventListener("input", () => this.#fill());
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

  #matches() {
    const words = this.#input.value.trim();
    const found = this.#places.filter(({ label }) => label.toLowerCase().includes(words.toLowerCase()));
    if (TICKET.test(words)) found.unshift({ label: `Ticket ${words.toUpperCase()}`, href: `/ticket/${encodeURIComponent(words.toUpperCase())}` });
    if (words) found.push({ label: `Search for “${words}”`, href: `/search?q=${encodeURIComponent(words)}` });
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
