// One event stream a browser, however many tabs: the tab that holds a lock reads it and tells the others.

import { instance, renderedCursor } from "./page.js";

const RETRY_AFTER_REFUSAL = 30_000;
const GRACE_BEFORE_LOST = 5_000;
const GATHER = 100; // until the tabs that are there have said what they show
const TICK = 30_000; // in a tab that nobody sees, browsers let a timer pass once a minute

/** [epoch, id] of a cursor such as "4f2a-120". */
function parts(cursor) {
  const cut = cursor.lastIndexOf("-");
  return [cursor.slice(0, cut), Number(cursor.slice(cut + 1))];
}

/** True when `other` knows events that `own` does not. */
function isAhead(other, own) {
  if (!other || !own) return false;
  const [otherEpoch, otherId] = parts(other);
  const [ownEpoch, ownId] = parts(own);
  return otherEpoch !== ownEpoch || otherId > ownId;
}

/**
 * Events: `news` (detail: the event's JSON), `resync` (events were missed: read everything again),
 * `link` (detail: "live", "waiting" or "lost"), `lead` (this tab reads the stream from now on).
 */
export class Stream extends EventTarget {
  #tab = crypto.getRandomValues(new Uint32Array(2)).join("");
  #name = `mc.${instance}.stream`;
  #cursor = renderedCursor;
  #link = "waiting";
  #tickets;
  #channel = null;
  #leading = false;
  #source = null;
  #wanted = new Map(); // tab -> its tickets
  #covers = []; // the tickets that are read in full now
  #newcomers = new Set(); // tabs that are not told yet from where on they are read for
  #release = null;
  #timer = 0;
  #gather = 0;
  #lastTick = Date.now();

  /**
   * tickets: identifiers of which this page shows everything, down to typing. What happens to tickets as a whole (moves,
   * edits, comments) arrives for all of them anyway.
   */
  constructor(tickets = []) {
    super();
    this.#tickets = tickets;
  }

  /** Show other tickets from now on; true when they are others. What happened to those just before is not told. */
  follow(tickets) {
    if (tickets.join() === this.#tickets.join()) return false;
    this.#tickets = tickets;
    this.#wanted.set(this.#tab, tickets);
    if (!this.#leading) this.#hello();
    else if (!this.#isCovered(tickets)) this.#open();
    return true;
  }

  start() {
    addEventListener("pagehide", () => this.#stop());
    addEventListener("pageshow", (event) => event.persisted && this.#join(true));
    addEventListener("online", () => this.#source && this.#open());
    setInterval(() => this.#noticeSleep(), TICK);
    this.#join(false);
  }

  get link() {
    return this.#link;
  }

  /** The server answers again: no need to wait until the next attempt is due. */
  retry() {
    if (this.#source && this.#source.readyState !== EventSource.OPEN) this.#open();
  }

  /** Without Web Locks (plain HTTP on another host) every tab reads for itself. */
  #join(missed) {
    if (missed) this.#emit("resync");
    if (!navigator.locks) return this.#lead();
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    const waiting = new AbortController();
    this.#release = () => waiting.abort();
    navigator.locks.request(this.#name, { signal: waiting.signal }, () => this.#hold()).catch(() => {});
    return this.#hello();
  }

  #hello() {
    this.#tell({ kind: "hello", tab: this.#tab, tickets: this.#tickets });
  }

  #hold() {
    return new Promise((resolve) => {
      this.#release = resolve;
      this.#lead();
    });
  }

  #lead() {
    this.#leading = true;
    this.#wanted = new Map([[this.#tab, this.#tickets]]);
    this.#tell({ kind: "roll" });
    this.#openSoon();
    this.#emit("lead");
  }

  #stop() {
    this.#rest();
    clearTimeout(this.#gather);
    this.#source?.close();
    this.#source = null;
    this.#leading = false;
    this.#tell({ kind: "bye", tab: this.#tab });
    this.#release?.();
    this.#channel?.close();
    this.#channel = null;
  }

  #tell(message) {
    this.#channel?.postMessage(message);
  }

  #hear(message) {
    const leading = this.#leading;
    const handlers = {
      news: () => !leading && this.#take(message),
      resync: () => !leading && this.#restart(message.cursor),
      link: () => !leading && this.#setLink(message.link),
      roll: () => this.#hello(),
      position: () => message.tab === this.#tab && this.#compare(message),
      hello: () => leading && this.#welcome(message),
      bye: () => leading && this.#wanted.delete(message.tab),
    };
    handlers[message.kind]?.();
  }

  /** What a tab shows is read for it from the position that it is told; what came before, it has or reads again. */
  #welcome({ tab, tickets }) {
    this.#wanted.set(tab, tickets);
    if (!this.#source || !this.#isCovered(tickets)) {
      this.#newcomers.add(tab);
      this.#openSoon();
    } else {
      this.#tellPosition(tab);
    }
  }

  #isCovered(tickets, covers = this.#covers) {
    return tickets.every((ticket) => covers.includes(ticket));
  }

  #tellPosition(tab) {
    this.#tell({ kind: "position", tab, cursor: this.#cursor, link: this.#link });
  }

  #compare({ cursor, link }) {
    this.#setLink(link);
    if (isAhead(cursor, this.#cursor)) this.#restart(cursor);
    else this.#cursor ||= cursor;
  }

  #restart(cursor) {
    this.#cursor = cursor || this.#cursor;
    this.#emit("resync");
  }

  #openSoon() {
    clearTimeout(this.#gather);
    this.#gather = setTimeout(() => this.#open(), GATHER);
  }

  #open() {
    this.#rest();
    clearTimeout(this.#gather);
    this.#source?.close();
    this.#covers = [...new Set([...this.#wanted.values()].flat())].sort();
    for (const tab of this.#newcomers) this.#tellPosition(tab);
    this.#newcomers.clear();
    const query = new URLSearchParams(this.#covers.length ? { tickets: this.#covers.join(",") } : {});
    if (this.#cursor) query.set("last_event_id", this.#cursor);
    const source = new EventSource(`/api/v1/stream?${query}`);
    this.#source = source;
    source.onopen = () => this.#share("live");
    source.onerror = () => this.#mend(source);
    source.addEventListener("ticket_event", (event) => this.#read(event));
    source.addEventListener("resync", (event) => {
      this.#tell({ kind: "resync", cursor: event.lastEventId });
      this.#restart(event.lastEventId);
    });
  }

  #read(event) {
    const news = { kind: "news", cursor: event.lastEventId, event: JSON.parse(event.data), covers: this.#covers };
    this.#tell(news);
    this.#take(news);
  }

  /** Each event once: a new leader may tell again what the one before it had told. */
  #take({ cursor, event, covers }) {
    if (this.#cursor && !isAhead(cursor, this.#cursor)) return;
    if (this.#isCovered(this.#tickets, covers)) this.#cursor = cursor;
    this.#emit("news", event);
  }

  /** A dropped connection mends itself; a refused one (503 over the cap) is final for EventSource, so reopen it later. */
  #mend(source) {
    if (source !== this.#source) return;
    if (source.readyState === EventSource.CLOSED) {
      this.#share("lost");
      this.#timer = setTimeout(() => this.#open(), RETRY_AFTER_REFUSAL * (1 + Math.random() / 4));
    } else {
      this.#timer ||= setTimeout(() => source.readyState !== EventSource.OPEN && this.#share("lost"), GRACE_BEFORE_LOST);
    }
  }

  #noticeSleep() {
    const slept = Date.now() - this.#lastTick > 3 * TICK;
    this.#lastTick = Date.now();
    if (slept && this.#source) this.#open();
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#timer = 0;
  }

  #share(link) {
    this.#rest();
    this.#setLink(link);
    this.#tell({ kind: "link", link });
  }

  #setLink(link) {
    this.#link = link;
    this.#emit("link", link);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
