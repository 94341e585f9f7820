// The ticket page: inline editing, and a conversation that adds new entries, shows typing and keeps the scroll position.

import { Composer } from "./js/ticket/composer.js";
import { startEditing } from "./js/ticket/inline_edit.js";
import { startFiles } from "./js/ticket/attachments.js";
import { announceNewElements, morph } from "./js/site/fragments.js";
import { stream } from "./js/site/shared_stream.js";
import { RecentList } from "./js/site/recent_list.js";
import { fetchFragment, parseFragment } from "./js/site/http.js";
import { ConversationSocket } from "./js/ticket/conversation_socket.js";
import { Typing } from "./js/ticket/typing.js";
import { startViewer } from "./js/ticket/file_viewer.js";
import { openMove } from "./js/site/dialogs.js";
import { focusQuestion } from "./js/ticket/question.js";
import { startTicketBar } from "./js/ticket/ticket_bar.js";
import { startLineLinks } from "./js/ticket/line_link.js";

const DEBOUNCE_MS = 150;
const END_TOLERANCE_PX = 160;

const MAX_PLACES = 200;
const places = new RecentList("read"); // {ticket, entry}: the last entry of a conversation that this browser has shown

function readPlace(ticket) {
  return places.read().find((place) => place.ticket === ticket)?.entry ?? "";
}

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
    this.#openAtNews();
    addEventListener("pagehide", () => this.#rememberPlace());
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
      else if (!("update" in entry.dataset)) added.push(entry);
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

  /** Open at the first entry that this browser has not shown, or at the latest, unless something is to be decided first. */
  #openAtNews() {
    if (location.hash || document.querySelector(".attention-item") || this.#list.offsetHeight < innerHeight) return;
    const entries = [...this.#list.querySelectorAll(".entry")];
    const last = document.getElementById(readPlace(this.#ticket));
    const firstUnread = last && entries[entries.indexOf(last) + 1];
    if (!firstUnread) return this.#scrollToEnd(false);
    firstUnread.dataset.unread = "";
    firstUnread.scrollIntoView({ block: "center" });
  }

  /** Store the last entry that was in view, unless a later one has been. */
  #rememberPlace() {
    const entries = [...this.#list.querySelectorAll(".entry")];
    const inView = entries.findLastIndex((entry) => entry.getBoundingClientRect().top < innerHeight);
    const last = Math.max(inView, entries.findIndex(({ id }) => id === readPlace(this.#ticket)));
    if (last >= 0) places.putFirst({ ticket: this.#ticket, entry: entries[last].id }, MAX_PLACES, ({ ticket }) => ticket === this.#ticket);
  }

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
const ticket = document.querySelector("[data-ticket]").dataset.ticket;
const answerLink = document.querySelector("#ticket-head [data-move=answer]"); // absent once the question is answered
if (location.hash === "#answer" && !focusQuestion() && answerLink) openMove(answerLink.getAttribute("href"));
startTicketBar();
startLineLinks();
startEditing();
startFiles();
startViewer();
if (document.getElementById("entries")) new Conversation();
