// The ticket page: inline editing, and a conversation that adds new entries, shows typing and keeps the scroll position.

import { Composer } from "./js/ticket/composer.js";
import { startEditing } from "./js/ticket/inline_edit.js";
import { startFiles } from "./js/ticket/attachments.js";
import { announceNewElements, morph } from "./js/site/fragments.js";
import { stream } from "./js/site/shared_stream.js";
import { fetchFragment, parseFragment } from "./js/site/http.js";
import { ConversationSocket } from "./js/ticket/conversation_socket.js";
import { Typing } from "./js/ticket/typing.js";
import { startViewer } from "./js/ticket/file_viewer.js";

const DEBOUNCE_MS = 150;
const END_TOLERANCE_PX = 160;

class Conversation {
  #list = document.getElementById("entries");
  #latest = document.querySelector("[data-latest]");
  #announcer = document.querySelector(".conversation [data-announce]");
  #ticket = this.#list.closest("[data-ticket]").dataset.ticket;
  #typing = new Typing(document.getElementById("typing"));
  #timer = 0;
  #isReading = false;
  #isStale = false;
  #unseenCount = 0;
  #lastEventId = 0;

  constructor() {
    const socket = new ConversationSocket(this.#ticket, Number(this.#list.dataset.cursor));
    for (const source of [stream, socket]) {
      source.addEventListener("news", ({ detail }) => detail.ticket === this.#ticket && this.#receive(detail));
      source.addEventListener("resync", () => this.#schedule());
    }
    new Composer(socket);
    document.addEventListener("mc:sent", () => this.#schedule());
    addEventListener("scroll", () => this.#showLatest(), { passive: true });
    this.#latest.addEventListener("click", () => this.#scrollToEnd(true));
    new ResizeObserver(() => this.#showLatest()).observe(this.#list);
  }

  /** Drop repeated events: the stream and the conversation socket both send them, each in order. */
  #receive(event) {
    if (event.id <= this.#lastEventId) return;
    this.#lastEventId = event.id;
    const wasAtEnd = this.#isAtEnd();
    if (this.#typing.take(event)) {
      if (wasAtEnd) this.#scrollToEnd(false);
      return;
    }
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fetchEntries(), DEBOUNCE_MS);
  }

  /** One request at a time; events during it cause one more. */
  async #fetchEntries() {
    this.#isStale = this.#isReading;
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      const { entries: url, cursor } = this.#list.dataset;
      await this.#mergeEntries(parseFragment(await fetchFragment(`${url}?after=${encodeURIComponent(cursor)}`)));
    } catch {
      // The next request has the same cursor, so nothing is missed.
    } finally {
      this.#isReading = false;
      if (this.#isStale) this.#schedule();
    }
  }

  async #mergeEntries(fragment) {
    const wasAtEnd = this.#isAtEnd();
    const added = [];
    for (const entry of [...fragment.querySelectorAll(".entry")]) {
      const existing = document.getElementById(entry.id);
      if (existing) morph(existing, entry.outerHTML, "outerHTML");
      else added.push(entry);
    }
    this.#list.append(...added);
    this.#list.dataset.cursor = fragment.querySelector("template[data-cursor]")?.dataset.cursor ?? this.#list.dataset.cursor;
    this.#typing.settle();
    announceNewElements(this.#list);
    if (added.length) this.#announceEntries(added, wasAtEnd);
  }

  #announceEntries(added, wasAtEnd) {
    document.getElementById("no-activity").hidden = true;
    const messages = added.filter((entry) => ["text", "comment", "question", "approval", "verdict"].includes(entry.dataset.kind));
    const last = messages.at(-1)?.querySelector(".actor");
    if (last) this.#announcer.textContent = `New activity from ${last.textContent.trim()}`;
    if (wasAtEnd) this.#scrollToEnd(false);
    else this.#unseenCount += messages.length;
    this.#showLatest();
  }

  // Scroll position

  #isAtEnd() {
    return document.documentElement.scrollHeight - scrollY - innerHeight < END_TOLERANCE_PX;
  }

  #scrollToEnd(smooth) {
    scrollTo({ top: document.documentElement.scrollHeight, behavior: smooth ? "smooth" : "instant" });
  }

  #showLatest() {
    if (this.#isAtEnd()) this.#unseenCount = 0;
    this.#latest.hidden = this.#isAtEnd();
    this.#latest.querySelector("span").textContent = this.#unseenCount ? `${this.#unseenCount} new` : "Latest";
  }
}

document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
startEditing();
startFiles();
startViewer();
if (document.getElementById("entries")) new Conversation();
