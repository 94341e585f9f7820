// The one stream and the one keeper of live parts that all modules of a page share.

import { Fragments } from "./fragments.js";
import { Stream } from "./stream.js";

/** The tickets that this page shows: its one ticket, or all. */
function shownTickets() {
  const page = document.querySelector(".ticket[data-ticket]");
  return page ? [page.dataset.ticket] : null;
}

export const stream = new Stream(shownTickets());
export const fragments = new Fragments(stream);
