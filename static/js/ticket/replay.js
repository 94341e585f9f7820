// The timeline slider of the Events tab: dragged, stepped with the arrow keys or played, it shows the ticket as it was.

import { markBusy } from "../site/loading.js";
import { morph } from "../site/fragments.js";
import { fetchFragment } from "../site/http.js";

const STEP_MS = 1200;
const MAX_PENDING_STEPS = 8;
const KEY_DIRECTIONS = { ArrowLeft: "before", ArrowDown: "before", ArrowRight: "after", ArrowUp: "after" };

class Replay {
  #root;
  #range;
  #snapshot;
  #play;
  #requestedSeq = 0;
  #loading = null;
  #timer = 0;
  #steps = Promise.resolve();
  #pendingSteps = 0;

  constructor(root) {
    this.#root = root;
    this.#range = root.querySelector("input[type='range']");
    this.#snapshot = root.querySelector("[data-then]");
    this.#play = root.querySelector("[data-play]");
    this.#range.addEventListener("input", () => this.#stop() || this.show(Number(this.#range.value)));
    this.#range.addEventListener("keydown", (event) => this.#handleKey(event));
    this.#play.addEventListener("click", () => (this.#playing ? this.#stop() : this.#start()));
    for (const link of root.querySelectorAll("[data-step]")) {
      link.addEventListener("click", (event) => this.#handleStepLink(event, link.dataset.step));
    }
    document.addEventListener("mc:fresh", () => this.#extendRange());
  }

  get #playing() {
    return this.#play.getAttribute("aria-pressed") === "true";
  }

  get #shownMoment() {
    return this.#snapshot.querySelector("[data-at]");
  }

  /** Show the ticket after event `seq`. During a request only the latest further position is fetched next. */
  async show(seq) {
    this.#requestedSeq = seq;
    this.#range.value = seq;
    this.#showPosition(`Event ${seq} of ${this.#range.max}`);
    this.#loading ??= this.#load().finally(() => {
      this.#loading = null;
    });
    await this.#loading;
  }

  async #load() {
    let seq = 0;
    while (seq !== this.#requestedSeq) {
      seq = this.#requestedSeq;
      try {
        const html = await markBusy(this.#snapshot, () => fetchFragment(`${this.#root.dataset.replay}?at=${seq}`));
        morph(this.#snapshot, html);
      } catch (refusal) {
        this.#stop();
        this.#snapshot.textContent = refusal.message;
        return;
      }
    }
    this.#showArrival(seq);
  }

  #showArrival(seq) {
    const { words, before, after } = this.#shownMoment.dataset;
    const entries = this.#snapshot.querySelector(".replay-entries");
    if (entries) entries.scrollTop = entries.scrollHeight;
    history.replaceState(null, "", this.#href(seq));
    for (const [step, to] of Object.entries({ before, after })) {
      this.#root.querySelector(`[data-step='${step}']`).href = this.#href(to || seq);
    }
    this.#showPosition(words);
  }

  #href(seq) {
    return `${this.#root.dataset.home}&at=${seq}`;
  }

  #showPosition(words) {
    this.#range.setAttribute("aria-valuetext", words);
    this.#root.querySelector("output").textContent = `${this.#range.value} of ${this.#range.max}`;
  }

  /** Queue steps that come faster than they can be shown. */
  #step(direction) {
    if (this.#pendingSteps > MAX_PENDING_STEPS) return this.#steps;
    this.#pendingSteps += 1;
    this.#steps = this.#steps.then(() => this.#takeStep(direction)).finally(() => {
      this.#pendingSteps -= 1;
    });
    return this.#steps;
  }

  /** Step to the next marked event in one direction. Return whether there is one. */
  async #takeStep(direction) {
    if (!this.#shownMoment) await this.show(Number(this.#range.value));
    const to = this.#shownMoment?.dataset[direction];
    if (to) await this.show(Number(to));
    return Boolean(to);
  }

  #handleKey(event) {
    const direction = KEY_DIRECTIONS[event.key];
    if (!direction || event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.#stop();
    this.#step(direction);
  }

  #handleStepLink(event, direction) {
    if (event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#stop();
    this.#step(direction);
  }

  /** Play; from the end, start at the beginning. */
  async #start() {
    this.#play.setAttribute("aria-pressed", "true");
    this.#play.setAttribute("aria-label", "Pause");
    if (this.#range.value === this.#range.max) await this.show(1);
    this.#scheduleStep();
  }

  #scheduleStep() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      if (!this.#playing) return;
      if (await this.#step("after")) this.#scheduleStep();
      else this.#stop();
    }, STEP_MS);
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#play.setAttribute("aria-pressed", "false");
    this.#play.setAttribute("aria-label", "Play");
  }

  /** Extend the slider by new events. */
  #extendRange() {
    const last = document.querySelector("[data-last]")?.dataset.last;
    if (!last || last === this.#range.max) return;
    const isAtEnd = this.#range.value === this.#range.max && !this.#shownMoment;
    this.#range.max = last;
    if (isAtEnd) this.#range.value = last;
    this.#showPosition(`Event ${this.#range.value} of ${last}`);
  }
}

export function startReplay() {
  const root = document.querySelector("[data-replay]");
  if (root) new Replay(root);
}
