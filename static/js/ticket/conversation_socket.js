// The live conversation with a ticket's agent: one WebSocket, and the messages that are not confirmed yet. The protocol is
// described in mc_interactive.py. An unconfirmed message is sent again under the same id after each disconnect, and as a plain
// form where no socket can be opened, so that it is neither lost nor stored twice.

import { postForm, storageKey } from "../site/http.js";

const HEARTBEAT_MS = 5_000;
const RETRY_DELAYS_MS = [500, 2_000, 5_000, 15_000, 30_000];
const MAX_FAILURES = 3; // failed attempts before pending messages are sent as a form
const HIDDEN_TIMEOUT_MS = 30_000;
const FIRST_FINAL_CODE = 4_000; // close codes from here on are final

/**
 * Events: `news` (detail: an event's JSON), `resync`, `control` (detail: the message, with may_speak),
 * `done` and `refused` (detail: the reply, with `pending`: {id, body, mode} for a message).
 */
export class ConversationSocket extends EventTarget {
  #ticket;
  #page = crypto.randomUUID();
  #after;
  #socket = null;
  #welcome = null;
  #failures = 0;
  #timer = 0;
  #outbox;

  constructor(ticket, after) {
    super();
    this.#ticket = ticket;
    this.#after = after;
    this.#outbox = new Outbox(storageKey(`outbox.${ticket}`));
    setInterval(() => this.open && this.#send({ type: "beat" }), HEARTBEAT_MS);
    document.addEventListener("visibilitychange", () => this.#handleVisibility());
    addEventListener("pagehide", () => this.#disconnect());
    addEventListener("pageshow", (event) => event.persisted && this.#connect());
    addEventListener("online", () => this.#reconnectAfter(0));
    this.#connect();
  }

  get open() {
    return this.#welcome !== null;
  }

  /** Messages that are not confirmed yet. */
  get waiting() {
    return this.#outbox.all;
  }

  say(body, mode) {
    const pending = { id: crypto.randomUUID(), body, mode };
    this.#outbox.put(pending);
    this.#send({ type: "say", ...pending });
    return pending;
  }

  control(act) {
    this.#send({ type: "control", id: crypto.randomUUID(), act });
  }

  // Connection

  #connect() {
    clearTimeout(this.#timer);
    if (this.#socket) return;
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/tickets/${this.#ticket}`);
    socket.onopen = () => this.#send({ type: "hello", page: this.#page, after: this.#after });
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => this.#handleClose(socket, code);
    this.#socket = socket;
  }

  #handleClose(socket, code) {
    if (socket !== this.#socket) return;
    this.#socket = this.#welcome = null;
    this.#emit("control", { holder: null, mine: false, asked: null, may_speak: true });
    this.#failures += 1;
    if (this.#failures >= MAX_FAILURES || code >= FIRST_FINAL_CODE) this.#postPending();
    if (code < FIRST_FINAL_CODE && !document.hidden) this.#reconnectAfter(RETRY_DELAYS_MS[Math.min(this.#failures, RETRY_DELAYS_MS.length) - 1]);
  }

  #reconnectAfter(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), delay);
  }

  /** Close the socket of a hidden page, since the number of sockets is limited. */
  #handleVisibility() {
    clearTimeout(this.#timer);
    if (document.hidden) this.#timer = setTimeout(() => this.#outbox.all.length || this.#disconnect(), HIDDEN_TIMEOUT_MS);
    else this.#connect();
  }

  #disconnect() {
    const socket = this.#socket;
    this.#socket = this.#welcome = null;
    socket?.close(1000);
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  // Incoming messages

  #receive(message) {
    const handlers = {
      welcome: () => this.#start(message),
      event: () => this.#acceptEvent(message.event),
      resync: () => this.#emit("resync", (this.#after = message.seq)),
      control: () => this.#emit("control", { ...message, may_speak: this.#welcome?.may_speak ?? true }),
      done: () => this.#settleMessage("done", message),
      refused: () => this.#settleMessage("refused", message),
    };
    handlers[message.type]?.();
  }

  #start(welcome) {
    this.#welcome = welcome;
    this.#failures = 0;
    for (const pending of this.#outbox.all) this.#send({ type: "say", ...pending });
  }

  #acceptEvent(event) {
    this.#after = event.seq;
    this.#emit("news", event);
  }

  #settleMessage(type, reply) {
    this.#emit(type, { ...reply, pending: this.#outbox.take(reply.id) });
  }

  async #postPending() {
    for (const pending of this.#outbox.all) {
      try {
        await postForm(`/ticket/${this.#ticket}/say`, pending);
        this.#settleMessage("done", { id: pending.id, became: "message", text: "", message: null });
      } catch (refusal) {
        if (refusal.status) this.#settleMessage("refused", { id: pending.id, message: refusal.message });
      }
    }
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Pending messages, which survive a reload of the page. */
class Outbox {
  #key;
  #messages;

  constructor(key) {
    this.#key = key;
    try {
      this.#messages = new Map(JSON.parse(sessionStorage.getItem(key) ?? "[]"));
    } catch {
      this.#messages = new Map();
    }
  }

  get all() {
    return [...this.#messages.values()];
  }

  put(pending) {
    this.#messages.set(pending.id, pending);
    this.#save();
  }

  take(id) {
    const pending = this.#messages.get(id);
    if (this.#messages.delete(id)) this.#save();
    return pending;
  }

  #save() {
    try {
      sessionStorage.setItem(this.#key, JSON.stringify([...this.#messages]));
    } catch {
      // Without storage the messages last as long as the page.
    }
  }
}
