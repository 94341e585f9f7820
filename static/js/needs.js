// What needs a person: read again by the tab that reads the stream, which tells the others; counted in every tab's title.

import { fetchJson, renderedNeeds, storageKey } from "./page.js";

const QUIET = 300;
const MOST = 99;
const CONCERNS = /^(ticket_(moved|created|edited)|run_)/;
const MAKES = /^(ticket_moved|run_state_changed)$/; // what can make a ticket need somebody

/** Events: `fresh` (detail: the items that have come to need somebody), `settled` (detail: the tickets that need nobody more). */
export class Needs extends EventTarget {
  #title = document.title;
  #channel = new BroadcastChannel(storageKey("needs"));
  #leads = false;
  #known = null; // "MC-1 in_review", for each that is known to need somebody; null until it was read for the first time
  #heard = new Set(); // the tickets that had such an event until then
  #timer = 0;

  constructor(stream) {
    super();
    stream.addEventListener("lead", () => this.#lead());
    stream.addEventListener("resync", () => this.#schedule());
    stream.addEventListener("news", ({ detail }) => this.#hear(detail));
    this.#channel.onmessage = ({ data }) => (data ? this.#take(data) : this.#leads && this.#tell());
    this.#channel.postMessage(null); // whoever leads says what it knows
    this.#show(renderedNeeds);
  }

  #lead() {
    this.#leads = true;
    this.#schedule();
  }

  #hear({ event_type: type, ticket }) {
    if (!this.#known && MAKES.test(type)) this.#heard.add(ticket);
    if (CONCERNS.test(type)) this.#schedule();
  }

  #schedule() {
    if (!this.#leads) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#read(), QUIET);
  }

  async #read() {
    try {
      this.#compare((await fetchJson("/api/v1/needs-you")).items);
    } catch {
      // The next event reads it again.
    }
  }

  /** What needed somebody before this page was made is counted, and no news. */
  #compare(items) {
    const now = new Map(items.map((item) => [`${item.ticket} ${item.status}`, item]));
    const before = this.#known ?? [...now.keys()].filter((key) => !this.#heard.has(key.split(" ", 1)[0]));
    const fresh = [...now].filter(([key]) => !before.includes(key)).map(([, item]) => item);
    const settled = before.filter((key) => !now.has(key)).map((key) => key.split(" ", 1)[0]);
    this.#take([...now.keys()]);
    this.#tell();
    if (settled.length) this.#emit("settled", settled.filter((ticket) => !items.some((item) => item.ticket === ticket)));
    if (fresh.length) this.#emit("fresh", fresh);
  }

  #take(known) {
    this.#known = known;
    this.#show(known.length);
  }

  #tell() {
    if (this.#known) this.#channel.postMessage(this.#known);
  }

  #show(count) {
    const words = count > MOST ? `${MOST}+` : String(count);
    document.title = count ? `(${words}) ${this.#title}` : this.#title;
    for (const place of document.querySelectorAll("[data-needs-count]")) {
      place.hidden = count === 0;
      place.textContent = words;
    }
    if (count) navigator.setAppBadge?.(count).catch(() => {});
    else navigator.clearAppBadge?.().catch(() => {});
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
