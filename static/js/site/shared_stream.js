// The event stream and the live parts that all modules of a page share.

import { Fragments } from "./fragments.js";
import { Stream } from "./event_stream.js";

const MAX_TICKETS = 16;

/** Identifiers whose agent events this page needs: its own ticket, the cards with a working agent, or those of the wall. */
export function listShownTickets() {
  const elements = document.querySelectorAll(".ticket[data-ticket], [data-board] [data-card][data-working], [data-agent-wall] [data-agent]");
  return [...elements].map(({ dataset }) => dataset.ticket ?? dataset.card ?? dataset.agent).slice(0, MAX_TICKETS).sort();
}

export const stream = new Stream(listShownTickets());
export const fragments = new Fragments(stream);
