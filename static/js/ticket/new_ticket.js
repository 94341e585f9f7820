// The new ticket form in a dialog over any page; on a phone, and without a script, a page of its own.

import { openForm } from "../site/dialogs.js";
import { fetchFragment } from "../site/http.js";

const DIALOG_ID = "ticket-dialog";
const narrowScreen = matchMedia("(max-width: 700px)");

/** Open the form with the board's filters as its initial values. */
export function openNewTicket() {
  const href = document.querySelector("[data-new-ticket]")?.getAttribute("href") ?? "/ticket/new";
  const form = document.getElementById("ticket-form");
  if (form && !form.closest("dialog")) return form.elements.title.focus();
  if (narrowScreen.matches) return location.assign(href);
  if (form) return document.getElementById(DIALOG_ID).showModal();
  return openForm(() => fetchFragment(href), href, DIALOG_ID);
}

export function startNewTicket() {
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-new-ticket]") || event.ctrlKey || event.metaKey || narrowScreen.matches) return;
    event.preventDefault();
    openNewTicket();
  });
}
