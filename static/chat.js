// A ticket's page: its parts are edited in place. In its conversation new entries are merged in, typing is shown as it
// happens, the reader's place is kept.

import { Composer } from "./js/composer.js";
import { startEditing } from "./js/edit.js";
import { startFiles } from "./js/files.js";
import { announceFresh, morph } from "./js/fragments.js";
import { stream } from "./js/live.js";
import { fetchFragment, parseFragment } from "./js/page.js";
import { Talk } from "./js/talk.js";
import { Typing } from "./js/typing.js";
import { startViewer } from "./js/viewer.js";

const QUIET = 150;
const NEAR = 160;

class Conversation {
  #list = document.getElementById("entries");
  #latest = document.querySelector("[data-latest]");
  #announcer = document.querySelector(".conversation [data-announce]");
  #ticket = this.#list.closest("[data-ticket]").dataset.ticket;
  #typing = new Typing(document.getElementById("typing"));
  #timer = 0;
  #reading = false;
  #again = false;
  #unseen = 0;
  #heard = 0;

  constructor() {
    const talk = new Talk(this.#ticket, Number(this.#list.dataset.cursor));
    for (const source of [stream, talk]) {
      source.addEventListener("news", ({ detail }) => detail.ticket === this.#ticket && this.#hear(detail));
      source.addEventListener("resync", () => this.#schedule());
    }
    new Composer(talk);
    document.addEventListener("mc:sent", () => this.#schedule());
    addEventListener("scroll", () => this.#showLatest(), { passive: true });
    this.#latest.addEventListener("click", () => this.#toEnd(true));
    new ResizeObserver(() => this.#showLatest()).observe(this.#list);
  }

  /** The stream and the live conversation tell the same events, each in order: what came by one is no news by the other. */
  #hear(event) {
    if (event.id <= this.#heard) return;
    this.#heard = event.id;
    const typed = this.#isAtEnd();
    if (this.#typing.take(event)) {
      if (typed) this.#toEnd(false);
      return;
    }
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#read(), QUIET);
  }

  /** One reading at a time; news during a reading causes one more. */
  async #read() {
    this.#again = this.#reading;
    if (this.#reading) return;
    this.#reading = true;
    try {
      const { entries: url, cursor } = this.#list.dataset;
      await this.#merge(parseFragment(await fetchFragment(`${url}?after=${encodeURIComponent(cursor)}`)));
    } catch {
      // The next event reads from the same cursor, so nothing is missed.
    } finally {
      this.#reading = false;
      if (this.#again) this.#schedule();
    }
  }

  async #merge(fresh) {
    const follow = this.#isAtEnd();
    const added = [];
    for (const entry of [...fresh.querySelectorAll(".entry")]) {
      const known = document.getElementById(entry.id);
      if (known) morph(known, entry.outerHTML, "outerHTML");
      else added.push(entry);
    }
    this.#list.append(...added);
    this.#list.dataset.cursor = fresh.querySelector("template[data-cursor]")?.dataset.cursor ?? this.#list.dataset.cursor;
    this.#typing.settle();
    announceFresh(this.#list);
    if (added.length) this.#welcome(added, follow);
  }

  #welcome(added, follow) {
    document.getElementById("no-activity").hidden = true;
    const spoken = added.filter((entry) => ["text", "comment", "question", "approval", "verdict"].includes(entry.dataset.kind));
    const last = spoken.at(-1)?.querySelector(".who");
    if (last) this.#announcer.textContent = `News from ${last.textContent.trim()}`;
    if (follow) this.#toEnd(false);
    else this.#unseen += spoken.length;
    this.#showLatest();
  }

  // The reader's place

  #isAtEnd() {
    return document.documentElement.scrollHeight - scrollY - innerHeight < NEAR;
  }

  #toEnd(smooth) {
    scrollTo({ top: document.documentElement.scrollHeight, behavior: smooth ? "smooth" : "instant" });
  }

  #showLatest() {
    if (this.#isAtEnd()) this.#unseen = 0;
    this.#latest.hidden = this.#isAtEnd();
    this.#latest.querySelector("span").textContent = this.#unseen ? `${this.#unseen} new` : "Latest";
  }
}

document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
startEditing();
startFiles();
startViewer();
if (document.getElementById("entries")) new Conversation();
