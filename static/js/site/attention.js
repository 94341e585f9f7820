// Tickets that need a person. The tab that reads the stream fetches the list and shares it; every tab's title shows the count.

import { fetchJson, renderedNeeds, storageKey } from "./http.js";

const DEBOUNCE_MS = 300;
const MAX_COUNT = 99;
const RELEVANT_EVENTS = /^(ticket_(moved|created|edited)|run_)/;
const TRIGGER_EVENTS = /^(ticket_moved|run_state_changed)$/; // what can make a ticket need somebody

/** Events: `fresh` (detail: items that newly need a person), `settled` (detail: tickets that no longer need one). */
export class AttentionList extends EventTarget {
  #title = document.title;
  #channel = new BroadcastChannel(storageKey("needs"));
  #isLeader = false;
  #currentKeys = null; // "MC-1 in_review", for each that is known to need somebody; null until it was read for the first time
  #eventTickets = new Set(); // the tickets that had such an event until then
  #timer = 0;

  constructor(stream) {
    super();
    stream.addEventListener("lead", () => this.#becomeLeader());
    stream.addEventListener("resync", () => this.#schedule());
    stream.addEventListener("news", ({ detail }) => this.#receive(detail));
    this.#channel.onmessage = ({ data }) => (data ? this.#setKeys(data) : this.#isLeader && this.#broadcast());
    this.#channel.postMessage(null); // whoever leads says what it knows
    this.#showCount(renderedNeeds);
  }

  #becomeLeader() {
    this.#isLeader = true;
    this.#schedule();
  }

  #receive({ event_type: type, ticket }) {
    if (!this.#currentKeys && TRIGGER_EVENTS.test(type)) this.#eventTickets.add(ticket);
    if (RELEVANT_EVENTS.test(type)) this.#schedule();
  }

  #schedule() {
    if (!this.#isLeader) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fetchItems(), DEBOUNCE_MS);
  }

  async #fetchItems() {
    try {
      this.#compare((await fetchJson("/api/v1/needs-you")).items);
    } catch {
      // The next event fetches it again.
    }
  }

  /** Items that needed a person before this page was rendered are counted, but not reported as new. */
  #compare(items) {
    const now = new Map(items.map((item) => [`${item.ticket} ${item.status}`, item]));
    const before = this.#currentKeys ?? [...now.keys()].filter((key) => !this.#eventTickets.has(key.split(" ", 1)[0]));
    const newItems = [...now].filter(([key]) => !before.includes(key)).map(([, item]) => item);
    const settled = before.filter((key) => !now.has(key)).map((key) => key.split(" ", 1)[0]);
    this.#setKeys([...now.keys()]);
    this.#broadcast();
    if (settled.length) this.#emit("settled", settled.filter((ticket) => !items.some((item) => item.ticket === ticket)));
    if (newItems.length) this.#emit("fresh", newItems);
  }

  #setKeys(keys) {
    this.#currentKeys = keys;
    this.#showCount(keys.length);
  }

  #broadcast() {
    if (this.#currentKeys) this.#channel.postMessage(this.#currentKeys);
  }

  #showCount(count) {
    const text = count > MAX_COUNT ? `${MAX_COUNT}+` : String(count);
    document.title = count ? `(${text}) ${this.#title}` : this.#title;
    for (const place of document.querySelectorAll("[data-needs-count]")) {
      place.hidden = count === 0;
      place.textContent = text;
    }
    if (count) navigator.setAppBadge?.(count).catch(() => {});
    else navigator.clearAppBadge?.().catch(() => {});
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
