// The live conversation with a ticket's agent: one WebSocket, and what was said but not confirmed yet.
// The messages are described in mc_interactive.py. What is confirmed neither gets lost nor is said twice: it goes out again
// under the same id after every cut, and as a plain form where no socket can be had.

import { post, storageKey } from "./page.js";

const BEAT = 5_000;
const PAUSES = [500, 2_000, 5_000, 15_000, 30_000];
const PATIENCE = 3; // failed attempts before what waits goes out as a form
const HIDDEN = 30_000;
const REFUSED = 4_000; // close codes from here on are final

/**
 * Events: `news` (detail: an event's JSON), `resync`, `control` (detail: the message, with may_speak),
 * `done` and `refused` (detail: the reply, with `said`: {id, body, mode} where it was words).
 */
export class Talk extends EventTarget {
  #ticket;
  #page = crypto.randomUUID();
  #after;
  #socket = null;
  #welcome = null;
  #failures = 0;
  #timer = 0;
  #box;

  constructor(ticket, after) {
    super();
    this.#ticket = ticket;
    this.#after = after;
    this.#box = new Outbox(storageKey(`outbox.${ticket}`));
    setInterval(() => this.open && this.#tell({ type: "beat" }), BEAT);
    document.addEventListener("visibilitychange", () => this.#rest());
    addEventListener("pagehide", () => this.#hangUp());
    addEventListener("pageshow", (event) => event.persisted && this.#connect());
    addEventListener("online", () => this.#again(0));
    this.#connect();
  }

  get open() {
    return this.#welcome !== null;
  }

  /** Words that were said and are not confirmed yet. */
  get waiting() {
    return this.#box.all;
  }

  say(body, mode) {
    const said = { id: crypto.randomUUID(), body, mode };
    this.#box.put(said);
    this.#tell({ type: "say", ...said });
    return said;
  }

  control(act) {
    this.#tell({ type: "control", id: crypto.randomUUID(), act });
  }

  // The connection

  #connect() {
    clearTimeout(this.#timer);
    if (this.#socket) return;
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/tickets/${this.#ticket}`);
    socket.onopen = () => this.#tell({ type: "hello", page: this.#page, after: this.#after });
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = ({ code }) => this.#mend(socket, code);
    this.#socket = socket;
  }

  #mend(socket, code) {
    if (socket !== this.#socket) return;
    this.#socket = this.#welcome = null;
    this.#emit("control", { holder: null, mine: false, asked: null, may_speak: true });
    this.#failures += 1;
    if (this.#failures >= PATIENCE || code >= REFUSED) this.#postWhatWaits();
    if (code < REFUSED && !document.hidden) this.#again(PAUSES[Math.min(this.#failures, PAUSES.length) - 1]);
  }

  #again(pause) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), pause);
  }

  /** A page that nobody looks at leaves its place to others. */
  #rest() {
    clearTimeout(this.#timer);
    if (document.hidden) this.#timer = setTimeout(() => this.#box.all.length || this.#hangUp(), HIDDEN);
    else this.#connect();
  }

  #hangUp() {
    const socket = this.#socket;
    this.#socket = this.#welcome = null;
    socket?.close(1000);
  }

  #tell(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  // What comes

  #hear(message) {
    const handlers = {
      welcome: () => this.#begin(message),
      event: () => this.#take(message.event),
      resync: () => this.#emit("resync", (this.#after = message.seq)),
      control: () => this.#emit("control", { ...message, may_speak: this.#welcome?.may_speak ?? true }),
      done: () => this.#settle("done", message),
      refused: () => this.#settle("refused", message),
    };
    handlers[message.type]?.();
  }

  #begin(welcome) {
    this.#welcome = welcome;
    this.#failures = 0;
    for (const said of this.#box.all) this.#tell({ type: "say", ...said });
  }

  #take(event) {
    this.#after = event.seq;
    this.#emit("news", event);
  }

  #settle(type, reply) {
    this.#emit(type, { ...reply, said: this.#box.take(reply.id) });
  }

  async #postWhatWaits() {
    for (const said of this.#box.all) {
      try {
        await post(`/ticket/${this.#ticket}/say`, said);
        this.#settle("done", { id: said.id, became: "message", text: "", message: null });
      } catch (refusal) {
        if (refusal.status) this.#settle("refused", { id: said.id, message: refusal.message });
      }
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Words on their way; they outlive a reload of the page. */
class Outbox {
  #key;
  #words;

  constructor(key) {
    this.#key = key;
    try {
      this.#words = new Map(JSON.parse(sessionStorage.getItem(key) ?? "[]"));
    } catch {
      this.#words = new Map();
    }
  }

  get all() {
    return [...this.#words.values()];
  }

  put(said) {
    this.#words.set(said.id, said);
    this.#save();
  }

  take(id) {
    const said = this.#words.get(id);
    if (this.#words.delete(id)) this.#save();
    return said;
  }

  #save() {
    try {
      sessionStorage.setItem(this.#key, JSON.stringify([...this.#words]));
    } catch {
      // Storage is refused: what waits is kept as long as the page.
    }
  }
}
