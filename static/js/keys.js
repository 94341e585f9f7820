// Keys of every page. What they are for stands in one table, on the server: web/site/shortcuts.py. Single letters are quiet while
// somebody types or a dialog is open, and wherever they were turned off.

import { tinykeys } from "../vendor/tinykeys.js";
import { openDialog } from "./floats.js";
import { newTicket } from "./newticket.js";

const TYPING = "input, textarea, select, [contenteditable]";
const TITLE = "#edit-title-fact > summary";
const HELD = /\$mod|Control|Alt|Meta/;
const rows = [...document.querySelectorAll("#keys [data-keys]")];
const bound = new Set();

function isQuiet(event, keys) {
  const off = document.documentElement.dataset.letters === "off" && !HELD.test(keys);
  // Until the next frame the focus may be where a dialog has closed.
  return off || event.target.closest?.(TYPING)?.checkVisibility() || document.querySelector("dialog[open]");
}

function free(keys, action) {
  return (event) => {
    if (isQuiet(event, keys)) return;
    event.preventDefault();
    action(event);
  };
}

/** Keys that something else on this page answers to: list them with the others. */
export function listKeys(...keys) {
  for (const each of keys) bound.add(each);
  for (const row of rows) row.hidden = !row.dataset.keys.split("|").every((each) => bound.has(each));
  const unknown = keys.filter((each) => !rows.some((row) => row.dataset.keys.split("|").includes(each)));
  if (unknown.length) console.error(`The table of keys does not name ${unknown.join(", ")}`);
}

/** actions: {"j": (event) => ...}; the keys work where nobody is typing. */
export function bindKeys(actions) {
  tinykeys(window, Object.fromEntries(Object.entries(actions).map(([keys, action]) => [keys, free(keys, action)])));
  listKeys(...Object.keys(actions));
}

function bindPages() {
  const links = [...document.querySelectorAll(".rail [data-go]")].filter(({ dataset }) => dataset.go);
  bindKeys(Object.fromEntries(links.map((link) => [`g ${link.dataset.go}`, () => link.click()])));
}

export function startKeys(palette) {
  bindPages();
  bindKeys({
    "/": () => palette.open(),
    "Shift+?": () => openDialog("keys"),
    c: newTicket,
    t: () => document.querySelector("[data-set=times]:not([aria-pressed=true])").click(),
  });
  const write = document.getElementById("say");
  if (write) bindKeys({ r: () => write.focus() });
  if (document.querySelector(TITLE)) bindKeys({ e: () => document.querySelector(TITLE)?.click() });
  tinykeys(window, {
    "$mod+k": (event) => {
      event.preventDefault();
      palette.open();
    },
  });
  listKeys("$mod+k", "$mod+Enter");
}
