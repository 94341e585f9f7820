// One event stream per browser: the tab that holds a Web Lock reads it and forwards events to the other tabs.

import { instance, renderedCursor } from "./http.js";

const RETRY_AFTER_REFUSAL = 30_000;
const LOST_DELAY_MS = 5_000;
const GATHER_MS = 100; // until the tabs that are there have said what they show
const TICK_MS = 30_000; // in a tab that nobody sees, browsers let a timer pass once a minute

/** Parse a cursor such as "4f2a-120" into [epoch, id]. */
function parseCursor(cursor) {
  const cut = cursor.lastIndexOf("-");
  return [cursor.slice(0, cut), Number(cursor.slice(cut + 1))];
}

/** Return whether `other` is further along than `own`. */
function isAhead(other, own) {
  if (!other || !own) return false;
  const [otherEpoch, otherId] = parseCursor(other);
  const [ownEpoch, ownId] = parseCursor(own);
  return otherEpoch !== ownEpoch || otherId > ownId;
}

/**
 * Events: `news` (detail: the event's JSON), `resync` (events were missed: fetch everything again),
 * `link` (detail: "live", "waiting" or "lost"), `lead` (this tab reads the stream from now on).
 */
export class Stream extends EventTarget {
  #tab = crypto.getRandomValues(new Uint32Array(2)).join("");
  #name = `mc.${instance}.stream`;
  #cursor = renderedCursor;
  #link = "waiting";
  #tickets;
  #channel = null;
  #isLeader = false;
  #source = null;
  #ticketsByTab = new Map(); // tab -> its tickets
  #coveredTickets = []; // the tickets that are read in full now
  #newcomers = new Set(); // tabs that are not told yet from where on they are read for
  #release = null;
  #timer = 0;
  #gatherTimer = 0;
  #lastTick = Date.now();

  /**
   * tickets: identifiers whose agent events this page needs, typing included. Moves, edits and comments of all other
   * tickets arrive anyway.
   */
  constructor(tickets = []) {
    super();
    this.#tickets = tickets;
  }

  /** Follow other tickets from now on. Return whether they changed. Their earlier events are not sent. */
  follow(tickets) {
    if (tickets.join() === this.#tickets.join()) return false;
    this.#tickets = tickets;
    this.#ticketsByTab.set(this.#tab, tickets);
    if (!this.#isLeader) this.#announceTab();
    else if (!this.#isCovered(tickets)) this.#open();
    return true;
  }

  start() {
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.#requestLead(true));
    addEventListener("online", () => this.#source && this.#open());
    setInterval(() => this.#detectSleep(), TICK_MS);
    this.#requestLead(false);
  }

  get link() {
    return this.#link;
  }

  /** Reconnect at once, because the server answers again. */
  retry() {
    if (this.#source && this.#source.readyState !== EventSource.OPEN) this.#open();
  }

  /** Without Web Locks (plain HTTP on another host) every tab opens its own stream. */
  #requestLead(hasMissedEvents) {
    if (hasMissedEvents) this.#emit("resync");
    if (!navigator.locks) return this.#becomeLeader();
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    const controller = new AbortController();
    this.#release = () => controller.abort();
    navigator.locks.request(this.#name, { signal: controller.signal }, () => this.#holdLock()).catch(() => {});
    return this.#announceTab();
  }

  #announceTab() {
    this.#broadcast({ kind: "hello", tab: this.#tab, tickets: this.#tickets });
  }

  #holdLock() {
    return new Promise((resolve) => {
      this.#release = resolve;
      this.#becomeLeader();
    });
  }

  #becomeLeader() {
    this.#isLeader = true;
    this.#ticketsByTab = new Map([[this.#tab, this.#tickets]]);
    this.#broadcast({ kind: "roll" });
    this.#openSoon();
    this.#emit("lead");
  }

  #close() {
    this.#clearRetry();
    clearTimeout(this.#gatherTimer);
    this.#source?.close();
    this.#source = null;
    this.#isLeader = false;
    this.#broadcast({ kind: "bye", tab: this.#tab });
    this.#release?.();
    this.#channel?.close();
    this.#channel = null;
  }

  #broadcast(message) {
    this.#channel?.postMessage(message);
  }

  #receive(message) {
    const leading = this.#isLeader;
    const handlers = {
      news: () => !leading && this.#acceptEvent(message),
      resync: () => !leading && this.#restart(message.cursor),
      link: () => !leading && this.#setLink(message.link),
      roll: () => this.#announceTab(),
      position: () => message.tab === this.#tab && this.#comparePosition(message),
      hello: () => leading && this.#addTab(message),
      bye: () => leading && this.#ticketsByTab.delete(message.tab),
    };
    handlers[message.kind]?.();
  }

  /** Add a tab and tell it the position from which events are forwarded. It has the earlier ones, or fetches them again. */
  #addTab({ tab, tickets }) {
    this.#ticketsByTab.set(tab, tickets);
    if (!this.#source || !this.#isCovered(tickets)) {
      this.#newcomers.add(tab);
      this.#openSoon();
    } else {
      this.#tellPosition(tab);
    }
  }

  #isCovered(tickets, covers = this.#coveredTickets) {
    return tickets.every((ticket) => covers.includes(ticket));
  }

  #tellPosition(tab) {
    this.#broadcast({ kind: "position", tab, cursor: this.#cursor, link: this.#link });
  }

  #comparePosition({ cursor, link }) {
    this.#setLink(link);
    if (isAhead(cursor, this.#cursor)) this.#restart(cursor);
    else this.#cursor ||= cursor;
  }

  #restart(cursor) {
    this.#cursor = cursor || this.#cursor;
    this.#emit("resync");
  }

  #openSoon() {
    clearTimeout(this.#gatherTimer);
    this.#gatherTimer = setTimeout(() => this.#open(), GATHER_MS);
  }

  #open() {
    this.#clearRetry();
    clearTimeout(this.#gatherTimer);
    this.#source?.close();
    this.#coveredTickets = [...new Set([...this.#ticketsByTab.values()].flat())].sort();
    for (const tab of this.#newcomers) this.#tellPosition(tab);
    this.#newcomers.clear();
    const query = new URLSearchParams(this.#coveredTickets.length ? { tickets: this.#coveredTickets.join(",") } : {});
    if (this.#cursor) query.set("last_event_id", this.#cursor);
    const source = new EventSource(`/api/v1/stream?${query}`);
    this.#source = source;
    source.onopen = () => this.#shareLink("live");
    source.onerror = () => this.#reconnect(source);
    source.addEventListener("ticket_event", (event) => this.#readEvent(event));
    source.addEventListener("resync", (event) => {
      this.#broadcast({ kind: "resync", cursor: event.lastEventId });
      this.#restart(event.lastEventId);
    });
  }

  #readEvent(event) {
    const news = { kind: "news", cursor: event.lastEventId, event: JSON.parse(event.data), covers: this.#coveredTickets };
    this.#broadcast(news);
    this.#acceptEvent(news);
  }

  /** Drop repeated events: a new leader may send some that the one before it has sent. */
  #acceptEvent({ cursor, event, covers }) {
    if (this.#cursor && !isAhead(cursor, this.#cursor)) return;
    if (this.#isCovered(this.#tickets, covers)) this.#cursor = cursor;
    this.#emit("news", event);
  }

  /** EventSource reconnects after a lost connection, but not after a refusal (503 over the limit), so reopen it later. */
  #reconnect(source) {
    if (source !== this.#source) return;
    if (source.readyState === EventSource.CLOSED) {
      this.#shareLink("lost");
      this.#timer = setTimeout(() => this.#open(), RETRY_AFTER_REFUSAL * (1 + Math.random() / 4));
    } else {
      this.#timer ||= setTimeout(() => source.readyState !== EventSource.OPEN && this.#shareLink("lost"), LOST_DELAY_MS);
    }
  }

  #detectSleep() {
    const hasSlept = Date.now() - this.#lastTick > 3 * TICK_MS;
    this.#lastTick = Date.now();
    if (hasSlept && this.#source) this.#open();
  }

  #clearRetry() {
    clearTimeout(this.#timer);
    this.#timer = 0;
  }

  #shareLink(link) {
    this.#clearRetry();
    this.#setLink(link);
    this.#broadcast({ kind: "link", link });
  }

  #setLink(link) {
    this.#link = link;
    this.#emit("link", link);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
