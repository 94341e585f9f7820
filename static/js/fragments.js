// Live parts of a page: an element with data-live="<fragment url>" is read again when something it shows has changed.
//   data-on="ticket_ run_"   prefixes of the event types that concern it; all without
//   data-ticket="MC-1"       on it or around it: only this ticket's events concern it
//   data-also="MC-2"         inside it: this one's events concern it too
//   data-still               inside it: what a script shows there is left alone

import { fetchFragment } from "./page.js";

const QUIET = 250;

/** Tell modules that new elements are in the page. */
export function announceFresh(root) {
  document.dispatchEvent(new CustomEvent("mc:fresh", { detail: { root } }));
}

const LEFT_ALONE = "[data-still], details[data-edit][open], [data-error]:not(:empty)";
const LEFT_ALONE_ATTRIBUTES = ["checked", "data-folded", "draggable", "style"];
const DEFAULTS = ["defaultValue", "defaultSelected"];

let ownValue = false; // whether the element whose attributes are merged next keeps what a person typed or chose

/** A person's own doing outlives a refresh: what they folded open, ticked, typed, chose or is busy stays so, and a form in use is not touched. */
const callbacks = {
  beforeNodeMorphed(element, fresh) {
    if (element.form && "autosend" in element.form.dataset) element.checked = fresh.checked;
    ownValue = element === document.activeElement || DEFAULTS.some((name) => name in element && element[name] === fresh[name]);
    return !element.matches?.(LEFT_ALONE);
  },
  beforeAttributeUpdated(name, element) {
    if (name === "open" && element.localName === "details") return false;
    return !LEFT_ALONE_ATTRIBUTES.includes(name) && !(ownValue && ["value", "selected"].includes(name));
  },
};

/** Merge new HTML into an element: what did not change stays, with its focus, caret, scroll position and selection. */
export function morph(target, html, morphStyle = "innerHTML") {
  Idiomorph.morph(target, html, { morphStyle, callbacks });
  announceFresh(target.isConnected ? target : document.body);
}

export class Fragments {
  #timers = new Map();
  #held = false;

  constructor(stream) {
    stream.addEventListener("news", ({ detail }) => this.#hear(detail));
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
    this.#held = true;
  }

  resume() {
    this.#held = false;
  }

  #hear(event) {
    for (const element of document.querySelectorAll("[data-live]")) {
      if (concerns(element, event)) this.#schedule(element);
    }
  }

  #schedule(element) {
    if (this.#timers.has(element)) return;
    this.#timers.set(element, setTimeout(() => this.#refresh(element), QUIET));
  }

  async #refresh(element) {
    this.#timers.delete(element);
    if (!element.isConnected) return;
    if (this.#held) {
      this.#schedule(element);
      return;
    }
    try {
      const html = await fetchFragment(element.dataset.live);
      if (!takesAway(element, html)) morph(element, html);
    } catch {
      // The next event or resync reads it again; the pill in the top bar shows that the link is lost.
    }
  }
}

/** Whether a form in use would be gone: then everything waits until it is closed. */
function takesAway(element, html) {
  return [...element.querySelectorAll("details[data-edit][open]")].some(({ id }) => !html.includes(`id="${id}"`));
}

function concerns(element, event) {
  const ticket = element.closest("[data-ticket]")?.dataset.ticket;
  const also = event.ticket && element.querySelector(`[data-also="${event.ticket}"]`);
  if (ticket && event.ticket && ticket !== event.ticket && !also) return false;
  const prefixes = element.dataset.on?.split(" ").filter(Boolean) ?? [];
  return prefixes.length === 0 || prefixes.some((prefix) => event.event_type.startsWith(prefix));
}
