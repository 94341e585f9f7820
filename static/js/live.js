// The one stream and the one keeper of live parts that all modules of a page share.

import { Fragments } from "./fragments.js";
import { Stream } from "./stream.js";

const MOST = 16;

/** The tickets that this page shows in full: its one ticket, or the cards at which an agent works. */
export function shownTickets() {
  const shown = document.querySelectorAll(".ticket[data-ticket], [data-board] [data-card][data-working]");
  return [...shown].map(({ dataset }) => dataset.ticket ?? dataset.card).slice(0, MOST).sort();
}

export const stream = new Stream(shownTickets());
export const fragments = new Fragments(stream);
