// j and k on a ticket's page: the next and previous ticket of the list from which it was opened.

import { instance } from "../site/http.js";
import { bindKeys } from "../site/shortcuts.js";

const KEY = `mc.${instance}.trail`;

/** Remember the order of the tickets on this page, when one of them is opened. */
export function rememberTrail(root) {
  root.addEventListener("click", ({ target }) => {
    if (!target.closest("[data-card] .title")) return;
    sessionStorage.setItem(KEY, JSON.stringify([...root.querySelectorAll("[data-card]")].map((card) => card.dataset.card)));
  });
}

function readTrail() {
  const trail = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  return Array.isArray(trail) ? trail.filter((name) => /^[A-Z]{2,8}-\d+$/.test(name)) : [];
}

function openNeighbour(ticket, step) {
  const trail = readTrail();
  const next = trail[trail.indexOf(ticket) + step];
  if (trail.includes(ticket) && next) location.assign(`/ticket/${next}`);
}

export function startNeighbours() {
  const ticket = document.querySelector(".ticket[data-ticket]")?.dataset.ticket;
  if (ticket) bindKeys({ j: () => openNeighbour(ticket, 1), k: () => openNeighbour(ticket, -1) });
}
