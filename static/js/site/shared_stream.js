// The event stream and the live parts that all modules of a page share.

import { Fragments } from "./fragments.js";
import { Stream } from "./event_stream.js";

const MAX_TICKETS = 16;

/** Identifiers whose agent events this page needs: its own ticket, or the cards with a working agent. */
export function listShownTickets() {
  const elements = document.querySelectorAll(".ticket[data-ticket], [data-board] [data-card][data-working]");
  return [...elements].map(({ dataset }) => dataset.ticket ?? dataset.card).slice(0, MAX_TICKETS).sort();
}

export const stream = new Stream(listShownTickets());
export const fragments = new Fragments(stream);
