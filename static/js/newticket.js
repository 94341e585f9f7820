// A new ticket in a dialog over any page; on a phone, and without a script, its page.

import { forget } from "./drafts.js";
import { openForm } from "./floats.js";
import { fetchFragment } from "./page.js";

const DIALOG = "ticket-dialog";
const narrow = matchMedia("(max-width: 700px)");

/** Open the form; what the board is narrowed to is what the ticket begins with. */
export function newTicket() {
  const href = document.querySelector("[data-new-ticket]")?.getAttribute("href") ?? "/ticket/new";
  const form = document.getElementById("ticket-form");
  if (form && !form.closest("dialog")) return form.elements.title.focus();
  if (narrow.matches) return location.assign(href);
  if (form) return document.getElementById(DIALOG).showModal();
  return openForm(() => fetchFragment(href), href, DIALOG);
}

/** Begin afresh: what was written before goes. */
function discard(button) {
  forget(button.form);
  button.form.reset();
  button.closest("[data-restored]").hidden = true;
  button.form.elements.title.focus();
}

export function startNewTicket() {
  document.addEventListener("click", ({ target }) => target.matches("#ticket-form [data-discard]") && discard(target));
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-new-ticket]") || event.ctrlKey || event.metaKey || narrow.matches) return;
    event.preventDefault();
    newTicket();
  });
}
