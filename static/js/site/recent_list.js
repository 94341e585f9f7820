// Short lists in this browser's storage. Without storage they last as long as the page.

import { storageKey } from "./http.js";

export class RecentList {
  #key;
  #items = [];

  constructor(name) {
    this.#key = storageKey(name);
  }

  read() {
    try {
      return JSON.parse(localStorage.getItem(this.#key) ?? "[]");
    } catch {
      return this.#items;
    }
  }

  write(items) {
    this.#items = items;
    try {
      if (items.length) localStorage.setItem(this.#key, JSON.stringify(items));
      else localStorage.removeItem(this.#key);
    } catch {
      // Only #items has it.
    }
  }

  /** Move an item to the front and drop those beyond the limit. */
  putFirst(item, most, isSame) {
    this.write([item, ...this.read().filter((other) => !isSame(other))].slice(0, most));
  }
}
