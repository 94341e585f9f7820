// The palette's local items: the pages, the controls of this page and the recently viewed tickets.
// An item is {id, group, label, icon?, hint?, href? or run()}; its id is the same on every page.

import { listPropertyCommands } from "../board/property_keys.js";
import { RecentList } from "./recent_list.js";

const MAX_RECENT_TICKETS = 8;
const recentTickets = new RecentList("seen");

/** The label of an element, without its shortcut and its icon. */
function getText(element) {
  return [...element.childNodes].filter((node) => !node.matches?.("kbd, .mark")).map((node) => node.textContent).join("").trim();
}

function mapElements(selector, item) {
  return [...document.querySelectorAll(selector)].map((element) => ({ icon: element.querySelector(".icon"), ...item(element) }));
}

function buildLink(group, element, label = getText(element)) {
  const href = element.getAttribute("href");
  return { id: `at ${href}`, group, label, href };
}

function buildAction(group, element, label = getText(element)) {
  return { id: `do ${label}`, group, label, run: () => element.click() };
}

/** Build "Theme: Dark" for the button labelled Dark. */
function buildChoice(element) {
  const { set } = element.dataset;
  return buildAction("View", element, `${set[0].toUpperCase()}${set.slice(1)}: ${getText(element)}`);
}

function listPages() {
  return [
    ...mapElements(".rail [data-go]", (element) => ({ ...buildLink("Pages", element, element.querySelector(".label").textContent), hint: element.dataset.go && `g ${element.dataset.go}` })),
    ...mapElements(".topbar .menu a.item", (element) => buildLink("Pages", element)),
  ];
}

function listTicketCommands() {
  return [
    ...mapElements(".ticket-head .moves :is(button, a)", (element) => buildAction("This ticket", element)),
    ...mapElements(".ticket [data-print]", (element) => buildLink("This ticket", element, "Print")),
    ...mapElements(".ticket .tabs a:not([data-print])", (element) => buildLink("This ticket", element, `Show ${getText(element)}`)),
    ...mapElements("#say", (element) => ({ id: "do write", group: "This ticket", label: "Write a comment", hint: "m", run: () => element.focus() })),
  ];
}

function listActions() {
  return [
    ...mapElements("#commands > a", (element) => ({ ...buildLink("Actions", element), hint: element.dataset.hint })),
    ...mapElements("#commands button", (element) => buildAction("Actions", element)),
    ...mapElements("[data-notify]:not([hidden]), .topbar [data-dialog=keys], .topbar form[action='/logout'] button", (element) => buildAction("Actions", element)),
    ...mapElements("[data-set]", buildChoice),
    ...mapElements("[data-toggle-rail]", (element) => buildAction("View", element, "Collapse or expand sidebar")),
  ];
}

export function listCommands() {
  return [...listPropertyCommands(), ...recentTickets.read().map(buildTicketItem), ...listTicketCommands(), ...listPages(), ...listActions()];
}

export function buildTicketItem({ ticket: identifier, title, status = "" }) {
  return { id: `at /ticket/${identifier}`, group: "Tickets", label: `${identifier} ${title}`.trim(), href: `/ticket/${identifier}`, status };
}

/** The recently viewed tickets, with this page's ticket added. */
export function rememberTicket() {
  const current = document.querySelector(".ticket[data-ticket]")?.dataset;
  if (current) recentTickets.putFirst({ ticket: current.ticket, title: current.title }, MAX_RECENT_TICKETS, ({ ticket: other }) => other === current.ticket);
}
