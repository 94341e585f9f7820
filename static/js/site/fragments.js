// Live parts of a page: an element with data-live="<fragment url>" is read again when something it shows has changed.
//   data-on="ticket_ run_"   prefixes of the event types that concern it; all without
//   data-ticket="MC-1"       on it or around it: only this ticket's events concern it
//   data-also="MC-2"         inside it: this one's events concern it too
//   data-still               inside it: what a script shows there is left alone

import { fetchFragment } from "./http.js";

const DEBOUNCE_MS = 250;

/** Tell modules that new elements are in the page. */
export function announceNewElements(root) {
  document.dispatchEvent(new CustomEvent("mc:fresh", { detail: { root } }));
}

const PRESERVED = "[data-still], details[data-edit][open], [data-error]:not(:empty)";
const PRESERVED_ATTRIBUTES = ["checked", "data-folded", "draggable", "style"];
const DEFAULTS = ["defaultValue", "defaultSelected"];

let isValuePreserved = false; // whether the element whose attributes are merged next keeps what a person typed or chose

/** A person's own doing outlives a refresh: what they folded open, ticked, typed, chose or is busy stays so, and a form in use is not touched. */
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

/** Merge new HTML into an element: what did not change stays, with its focus, caret, scroll position and selection. */
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

  /** Read one part again, soon. */
  refresh(element) {
    this.#schedule(element);
  }

  /** While something is carried over the page, nothing may move under it. */
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
      // The next event or resync reads it again; the pill in the top bar shows that the link is lost.
    }
  }
}

/** Whether a form in use would be gone: then everything waits until it is closed. */
function removesOpenEditor(element, html) {
  return [...element.querySelectorAll("details[data-edit][open]")].some(({ id }) => !html.includes(`id="${id}"`));
}

function isConcerned(element, event) {
  const ticket = element.closest("[data-ticket]")?.dataset.ticket;
  const also = event.ticket && element.querySelector(`[data-also="${event.ticket}"]`);
  if (ticket && event.ticket && ticket !== event.ticket && !also) return false;
  const prefixes = element.dataset.on?.split(" ").filter(Boolean) ?? [];
  return prefixes.length === 0 || prefixes.some((prefix) => event.event_type.startsWith(prefix));
}
