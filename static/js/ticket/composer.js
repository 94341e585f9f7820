// The composer of a live conversation: sent messages appear at once, and it shows who controls the conversation.

import { discardDraft } from "../site/drafts.js";
import { showError } from "../site/forms.js";
import { setDisabled } from "../site/loading.js";

const LIVE_MODES = new Set(["queue", "interrupt"]);

export class Composer {
  #form = document.querySelector("form.composer");
  #list = document.getElementById("entries");
  #row = document.getElementById("pending-entry");
  #status = document.querySelector("[data-told]");
  #socket;
  #lastMessageId = "";

  constructor(socket) {
    this.#socket = socket;
    socket.addEventListener("news", ({ detail }) => this.#clearStatus(detail));
    this.#form.addEventListener("submit", (event) => this.#send(event));
    this.#form.addEventListener("click", ({ target }) => target.closest("[data-act]") && socket.control(target.closest("[data-act]").dataset.act));
    socket.addEventListener("control", ({ detail }) => this.#showControl(detail));
    socket.addEventListener("done", ({ detail }) => this.#completeRow(detail));
    socket.addEventListener("refused", ({ detail }) => this.#showRefusal(detail));
    for (const pending of socket.waiting) this.#addPendingRow(pending);
  }

  /** Send through the socket when it is open, else as a plain form. */
  #send(event) {
    const mode = event.submitter?.value;
    if (!LIVE_MODES.has(mode) || !this.#socket.open) return;
    event.preventDefault();
    event.stopPropagation();
    const body = this.#form.elements.body.value.trim();
    if (!body) return;
    this.#addPendingRow(this.#socket.say(body, mode));
    discardDraft(this.#form);
    this.#form.reset();
    this.#form.elements.body.dispatchEvent(new Event("input", { bubbles: true }));
    this.#form.querySelector("[data-error]").replaceChildren();
  }

  #addPendingRow({ id, body }) {
    const row = this.#row.content.firstElementChild.cloneNode(true);
    row.id = `pending-${id}`;
    row.querySelector("[data-body]").textContent = body;
    this.#list.append(row);
    document.getElementById("no-activity").hidden = true;
    row.scrollIntoView({ block: "end" });
  }

  /** Turn the pending row into the stored message, which the next refresh completes, or remove it for a comment. */
  #completeRow({ id, became, text, message }) {
    const row = document.getElementById(`pending-${id}`);
    const realId = message && `entry-q${message.id}`;
    if (row && realId && !document.getElementById(realId)) row.id = realId;
    else row?.remove();
    if (became !== "control") {
      this.#status.textContent = text;
      this.#lastMessageId = id;
    }
    document.dispatchEvent(new CustomEvent("mc:sent", { detail: { form: this.#form } }));
  }

  /** Clear the delivery status once the agent has the message. */
  #clearStatus({ event_type: type, payload }) {
    if (type === "agent.receipt" && payload.uuid === this.#lastMessageId && payload.state !== "queued") this.#status.textContent = "";
  }

  #showRefusal({ id, message, pending }) {
    document.getElementById(`pending-${id}`)?.remove();
    const area = this.#form.elements.body;
    if (pending && !area.value) {
      area.value = pending.body;
      area.dispatchEvent(new Event("input", { bubbles: true }));
    }
    showError(message, this.#form.querySelector("[data-error]"));
  }

  #showControl({ holder, mine, asked, asked_by_me: askedByMe, may_speak: maySpeak }) {
    const bar = this.#form.querySelector("[data-control]");
    const isHeldByOther = holder !== null && !mine;
    bar.hidden = holder === null && maySpeak;
    bar.dataset.control = mine ? "mine" : "other";
    bar.querySelector("[data-words]").textContent = describeControl({ holder, mine, asked, askedByMe, maySpeak });
    const visibleActions = maySpeak ? { release: mine && !asked, give: mine && asked, ask: isHeldByOther && !askedByMe, take: isHeldByOther } : {};
    for (const button of bar.querySelectorAll("[data-act]")) button.hidden = !visibleActions[button.dataset.act];
    for (const button of this.#form.elements.mode) {
      setDisabled(button, "control", (isHeldByOther || !maySpeak) && LIVE_MODES.has(button.value));
    }
  }
}

function describeControl({ holder, mine, asked, askedByMe, maySpeak }) {
  if (!maySpeak) return "You are watching.";
  if (mine) return asked ? `${asked} wants to talk to the agent.` : "You are talking to the agent.";
  return askedByMe ? `${holder} is talking to the agent. You asked for control.` : `${holder} is talking to the agent. You are watching.`;
}
