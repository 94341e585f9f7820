// The ruler of the Events tab: dragged, stepped with the arrow keys or played, it shows the ticket as it was.

import { busy } from "./busy.js";
import { morph } from "./fragments.js";
import { fetchFragment } from "./page.js";

const PACE = 1200;
const MOST_WAITING = 8;
const STEPS = { ArrowLeft: "before", ArrowDown: "before", ArrowRight: "after", ArrowUp: "after" };

class Replay {
  #root;
  #range;
  #then;
  #play;
  #wanted = 0;
  #loading = null;
  #timer = 0;
  #steps = Promise.resolve();
  #waiting = 0;

  constructor(root) {
    this.#root = root;
    this.#range = root.querySelector("input[type='range']");
    this.#then = root.querySelector("[data-then]");
    this.#play = root.querySelector("[data-play]");
    this.#range.addEventListener("input", () => this.#halt() || this.show(Number(this.#range.value)));
    this.#range.addEventListener("keydown", (event) => this.#key(event));
    this.#play.addEventListener("click", () => (this.#playing ? this.#halt() : this.#start()));
    for (const link of root.querySelectorAll("[data-step]")) {
      link.addEventListener("click", (event) => this.#follow(event, link.dataset.step));
    }
    document.addEventListener("mc:fresh", () => this.#grow());
  }

  get #playing() {
    return this.#play.getAttribute("aria-pressed") === "true";
  }

  get #shown() {
    return this.#then.querySelector("[data-at]");
  }

  /** Show the ticket after event `seq`; while one is being read, only the last that was asked for is read next. */
  async show(seq) {
    this.#wanted = seq;
    this.#range.value = seq;
    this.#say(`Event ${seq} of ${this.#range.max}`);
    this.#loading ??= this.#load().finally(() => {
      this.#loading = null;
    });
    await this.#loading;
  }

  async #load() {
    let seq = 0;
    while (seq !== this.#wanted) {
      seq = this.#wanted;
      try {
        const then = await busy(this.#then, () => fetchFragment(`${this.#root.dataset.replay}?at=${seq}`));
        morph(this.#then, then);
      } catch (refusal) {
        this.#halt();
        this.#then.textContent = refusal.message;
        return;
      }
    }
    this.#arrive(seq);
  }

  #arrive(seq) {
    const { words, before, after } = this.#shown.dataset;
    const said = this.#then.querySelector(".then-said");
    if (said) said.scrollTop = said.scrollHeight;
    history.replaceState(null, "", this.#href(seq));
    for (const [step, to] of Object.entries({ before, after })) {
      this.#root.querySelector(`[data-step='${step}']`).href = this.#href(to || seq);
    }
    this.#say(words);
  }

  #href(seq) {
    return `${this.#root.dataset.home}&at=${seq}`;
  }

  #say(words) {
    this.#range.setAttribute("aria-valuetext", words);
    this.#root.querySelector("output").textContent = `${this.#range.value} of ${this.#range.max}`;
  }

  /** Steps that are asked for faster than they can be shown are taken one after the other. */
  #step(way) {
    if (this.#waiting > MOST_WAITING) return this.#steps;
    this.#waiting += 1;
    this.#steps = this.#steps.then(() => this.#take(way)).finally(() => {
      this.#waiting -= 1;
    });
    return this.#steps;
  }

  /** To the next moment at which something is to be seen, in one direction; whether there is one. */
  async #take(way) {
    if (!this.#shown) await this.show(Number(this.#range.value));
    const to = this.#shown?.dataset[way];
    if (to) await this.show(Number(to));
    return Boolean(to);
  }

  #key(event) {
    const way = STEPS[event.key];
    if (!way || event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.#halt();
    this.#step(way);
  }

  #follow(event, way) {
    if (event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#halt();
    this.#step(way);
  }

  /** From the end it plays from the beginning. */
  async #start() {
    this.#play.setAttribute("aria-pressed", "true");
    this.#play.setAttribute("aria-label", "Pause");
    if (this.#range.value === this.#range.max) await this.show(1);
    this.#wait();
  }

  #wait() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      if (!this.#playing) return;
      if (await this.#step("after")) this.#wait();
      else this.#halt();
    }, PACE);
  }

  #halt() {
    clearTimeout(this.#timer);
    this.#play.setAttribute("aria-pressed", "false");
    this.#play.setAttribute("aria-label", "Play");
  }

  /** What has happened since lengthens the ruler. */
  #grow() {
    const last = document.querySelector("[data-last]")?.dataset.last;
    if (!last || last === this.#range.max) return;
    const present = this.#range.value === this.#range.max && !this.#shown;
    this.#range.max = last;
    if (present) this.#range.value = last;
    this.#say(`Event ${this.#range.value} of ${last}`);
  }
}

export function startReplay() {
  const root = document.querySelector("[data-replay]");
  if (root) new Replay(root);
}
