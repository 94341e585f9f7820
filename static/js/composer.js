// The composer while the conversation is live: what is sent shows at once, and who talks with the agent can be seen.

import { forget } from "./drafts.js";
import { say } from "./forms.js";

const LIVE = new Set(["queue", "interrupt"]);

export class Composer {
  #form = document.querySelector("form.composer");
  #list = document.getElementById("entries");
  #row = document.getElementById("pending-entry");
  #told = document.querySelector("[data-told]");
  #talk;
  #last = "";

  constructor(talk) {
    this.#talk = talk;
    talk.addEventListener("news", ({ detail }) => this.#notice(detail));
    this.#form.addEventListener("submit", (event) => this.#send(event));
    this.#form.addEventListener("click", ({ target }) => target.closest("[data-act]") && talk.control(target.closest("[data-act]").dataset.act));
    talk.addEventListener("control", ({ detail }) => this.#showControl(detail));
    talk.addEventListener("done", ({ detail }) => this.#settle(detail));
    talk.addEventListener("refused", ({ detail }) => this.#refuse(detail));
    for (const said of talk.waiting) this.#show(said);
  }

  /** Through the socket where it is open; else the form goes its own way. */
  #send(event) {
    const mode = event.submitter?.value;
    if (!LIVE.has(mode) || !this.#talk.open) return;
    event.preventDefault();
    event.stopPropagation();
    const body = this.#form.elements.body.value.trim();
    if (!body) return;
    this.#show(this.#talk.say(body, mode));
    forget(this.#form);
    this.#form.reset();
    this.#form.elements.body.dispatchEvent(new Event("input", { bubbles: true }));
    this.#form.querySelector("[data-error]").replaceChildren();
  }

  #show({ id, body }) {
    const row = this.#row.content.firstElementChild.cloneNode(true);
    row.id = `pending-${id}`;
    row.querySelector("[data-body]").textContent = body;
    this.#list.append(row);
    document.getElementById("no-activity").hidden = true;
    row.scrollIntoView({ block: "end" });
  }

  /** The row becomes the real one, which the next reading of the conversation completes; or gives way to a comment. */
  #settle({ id, became, text, message }) {
    const row = document.getElementById(`pending-${id}`);
    const real = message && `entry-q${message.id}`;
    if (row && real && !document.getElementById(real)) row.id = real;
    else row?.remove();
    if (became !== "control") {
      this.#told.textContent = text;
      this.#last = id;
    }
    document.dispatchEvent(new CustomEvent("mc:sent", { detail: { form: this.#form } }));
  }

  /** What was said of the last words holds until the agent has them. */
  #notice({ event_type: type, payload }) {
    if (type === "agent.receipt" && payload.uuid === this.#last && payload.state !== "queued") this.#told.textContent = "";
  }

  #refuse({ id, message, said }) {
    document.getElementById(`pending-${id}`)?.remove();
    const area = this.#form.elements.body;
    if (said && !area.value) {
      area.value = said.body;
      area.dispatchEvent(new Event("input", { bubbles: true }));
    }
    say(message, this.#form.querySelector("[data-error]"));
  }

  #showControl({ holder, mine, asked, asked_by_me: askedByMe, may_speak: maySpeak }) {
    const bar = this.#form.querySelector("[data-control]");
    const other = holder !== null && !mine;
    bar.hidden = holder === null && maySpeak;
    bar.dataset.control = mine ? "mine" : "other";
    bar.querySelector("[data-words]").textContent = words({ holder, mine, asked, askedByMe, maySpeak });
    const offered = maySpeak ? { release: mine && !asked, give: mine && asked, ask: other && !askedByMe, take: other } : {};
    for (const button of bar.querySelectorAll("[data-act]")) button.hidden = !offered[button.dataset.act];
    for (const button of this.#form.elements.mode) button.disabled = (other || !maySpeak) && LIVE.has(button.value);
  }
}

function words({ holder, mine, asked, askedByMe, maySpeak }) {
  if (!maySpeak) return "You read along.";
  if (mine) return asked ? `${asked} asks to talk with the agent.` : "You are talking with the agent.";
  return askedByMe ? `${holder} is talking with the agent, and has been asked to let you.` : `${holder} is talking with the agent. You read along.`;
}
