// What the palette offers without asking anybody: the pages, the controls of this page, and the tickets seen last.
// An item is {id, group, label, icon?, hint?, href? or run()}; its id tells it again on another page.

import { Store } from "./store.js";

const MOST_SEEN = 8;
const seen = new Store("seen");

/** What an element says, without its key and its mark. */
function words(element) {
  return [...element.childNodes].filter((node) => !node.matches?.("kbd, .mark")).map((node) => node.textContent).join("").trim();
}

function all(selector, item) {
  return [...document.querySelectorAll(selector)].map((element) => ({ icon: element.querySelector(".icon"), ...item(element) }));
}

function link(group, element, label = words(element)) {
  const href = element.getAttribute("href");
  return { id: `at ${href}`, group, label, href };
}

function press(group, element, label = words(element)) {
  return { id: `do ${label}`, group, label, run: () => element.click() };
}

/** "Theme: Dark" of the button that says Dark. */
function choice(element) {
  const { set } = element.dataset;
  return press("View", element, `${set[0].toUpperCase()}${set.slice(1)}: ${words(element)}`);
}

function pages() {
  return [
    ...all(".rail [data-go]", (element) => ({ ...link("Pages", element, element.querySelector(".word").textContent), hint: element.dataset.go && `g ${element.dataset.go}` })),
    ...all(".topbar .menu a.item", (element) => link("Pages", element)),
  ];
}

function ticket() {
  return [
    ...all(".ticket-head .moves :is(button, a)", (element) => press("This ticket", element)),
    ...all(".ticket [data-print]", (element) => link("This ticket", element, "Print")),
    ...all(".ticket .tabs a:not([data-print])", (element) => link("This ticket", element, `Show ${words(element)}`)),
    ...all("#say", (element) => ({ id: "do write", group: "This ticket", label: "Write", hint: "r", run: () => element.focus() })),
  ];
}

function actions() {
  return [
    ...all("#commands > a", (element) => ({ ...link("Actions", element), hint: element.dataset.hint })),
    ...all("#commands button", (element) => press("Actions", element)),
    ...all("[data-notify]:not([hidden]), .topbar [data-dialog=keys], .topbar form[action='/logout'] button", (element) => press("Actions", element)),
    ...all("[data-set]", choice),
    ...all("[data-toggle-rail]", (element) => press("View", element, "Fold or unfold the rail")),
  ];
}

export function commands() {
  return [...seen.read().map(ticketItem), ...ticket(), ...pages(), ...actions()];
}

export function ticketItem({ ticket: identifier, title }) {
  return { id: `at /ticket/${identifier}`, group: "Tickets", label: `${identifier} ${title}`.trim(), href: `/ticket/${identifier}` };
}

/** The tickets seen last, this one now. */
export function noteTicket() {
  const shown = document.querySelector(".ticket[data-ticket]")?.dataset;
  if (shown) seen.first({ ticket: shown.ticket, title: shown.title }, MOST_SEEN, ({ ticket: other }) => other === shown.ticket);
}
