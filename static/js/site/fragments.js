// Live parts of a page: an element with data-live="<fragment url>" is fetched again when its content has changed.
//   data-on="ticket_ run_"   prefixes of the event types that concern it; without it, all
//   data-ticket="MC-1"       on it or around it: only this ticket's events concern it
//   data-also="MC-2"         inside it: this ticket's events concern it too
//   data-comment="7"         on it: only events about this line comment concern it
//   data-still               inside it: content of a script, which a refresh does not touch

import { fetchFragment } from "./http.js";

const DEBOUNCE_MS = 250;

/** Announce new elements in the page to other modules. */
export function announceNewElements(root) {
  document.dispatchEvent(new CustomEvent("mc:fresh", { detail: { root } }));
}

const PRESERVED = "[data-still], details[data-edit][open], [data-error]:not(:empty)";
const PRESERVED_ATTRIBUTES = ["checked", "data-folded", "draggable", "style"];
const DEFAULTS = ["defaultValue", "defaultSelected"];

let isValuePreserved = false; // whether the element whose attributes are merged next keeps what a person typed or chose

/** Preserve the user's own state in a refresh: open details, ticks, text, choices and busy controls. A form in use is not touched. */
const callbacks = {
  beforeNodeMorphed(element, fresh) {
    if (element.form && "autosend" in element.form.dataset) element.checked = fresh.checked;
    isValuePreserved = element === document.activeElement || DEFAULTS.some((name) => name in element && element[name] === fresh[name]);
    return !element.matches?.(PRESERVED);
  },
  beforeAttributeUpdated(name, element) {
    if (name === "open" && element.localName === "details") return false;
    return !PRESERVED_ATTRIBUTES.includes(name) && !(isValuePreserved && ["value", "selected"].includes(name));
  },
};

/** Merge new HTML into an element. Unchanged nodes stay, with their focus, caret, scroll position and selection. */
export function morph(target, html, morphStyle = "innerHTML") {
  Idiomorph.morph(target, html, { morphStyle, callbacks });
  announceNewElements(target.isConnected ? target : document.body);
}

export class Fragments {
  #timers = new Map();
  #isPaused = false;

  constructor(stream) {
    stream.addEventListener("news", ({ detail }) => this.#receive(detail));
    stream.addEventListener("resync", () => this.refreshAll());
    document.addEventListener("mc:sent", () => stream.link !== "live" && this.refreshAll());
  }

  refreshAll() {
    for (const element of document.querySelectorAll("[data-live]")) this.#schedule(element);
  }

  /** Schedule a refresh of one part. */
  refresh(element) {
    this.#schedule(element);
  }

  /** Pause refreshes while something is dragged, so that nothing moves under it. */
  hold() {
    this.#isPaused = true;
  }

  resume() {
    this.#isPaused = false;
  }

  #receive(event) {
    for (const element of document.querySelectorAll("[data-live]")) {
      if (isConcerned(element, event)) this.#schedule(element);
    }
  }

  #schedule(element) {
    if (this.#timers.has(element)) return;
    this.#timers.set(element, setTimeout(() => this.#refresh(element), DEBOUNCE_MS));
  }

  async #refresh(element) {
    this.#timers.delete(element);
    if (!element.isConnected) return;
    if (this.#isPaused) {
      this.#schedule(element);
      return;
    }
    try {
      const html = await fetchFragment(element.dataset.live);
      if (!removesOpenEditor(element, html)) morph(element, html);
    } catch {
      // The next event or resync fetches it again; the top bar shows that the connection is lost.
    }
  }
}

/** Return whether the refresh would remove a form in use; then it waits until the form is closed. */
function removesOpenEditor(element, html) {
  return [...element.querySelectorAll("details[data-edit][open]")].some(({ id }) => !html.includes(`id="${id}"`));
}

function isConcerned(element, event) {
  const ticket = element.closest("[data-ticket]")?.dataset.ticket;
  const also = event.ticket && element.querySelector(`[data-also="${event.ticket}"]`);
  if (ticket && event.ticket && ticket !== event.ticket && !also) return false;
  if (element.dataset.comment && element.dataset.comment !== String(event.payload?.comment)) return false;
  const prefixes = element.dataset.on?.split(" ").filter(Boolean) ?? [];
  return prefixes.length === 0 || prefixes.some((prefix) => event.event_type.startsWith(prefix));
}
