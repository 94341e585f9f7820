// The one stream and the one keeper of live parts that all modules of a page share.

import { Fragments } from "./fragments.js";
import { Stream } from "./event_stream.js";

const MAX_TICKETS = 16;

/** The tickets that this page shows in full: its one ticket, or the cards at which an agent works. */
export function listShownTickets() {
  const elements = document.querySelectorAll(".ticket[data-ticket], [data-board] [data-card][data-working]");
  return [...elements].map(({ dataset }) => dataset.ticket ?? dataset.card).slice(0, MAX_TICKETS).sort();
}

export const stream = new Stream(listShownTickets());
export const fragments = new Fragments(stream);
