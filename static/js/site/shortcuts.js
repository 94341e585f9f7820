// Keyboard shortcuts. Their descriptions are in one table on the server: web/site/shortcuts.py. Single letters do nothing while
// the user types, while a dialog is open, or where they are turned off.

import { tinykeys } from "../../vendor/tinykeys.js";
import { openDialog } from "./dialogs.js";
import { openNewTicket } from "../ticket/new_ticket.js";

const TEXT_FIELDS = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";
const TITLE_EDITOR = "#edit-title-fact > summary";
const SEQUENCE_MS = 1000;
const MODIFIERS = /\$mod|Control|Alt|Meta/;
const keyRows = [...document.querySelectorAll("#keys [data-keys]")];
const boundKeys = new Set();
const isQueue = Boolean(document.querySelector("[data-queue]"));
const latestKeys = [{}, {}]; // the key before the last one, and the last one

function rememberKey({ key, timeStamp }) {
  latestKeys.push({ key, timeStamp });
  latestKeys.shift();
}

/** Whether the key ends a sequence such as "g a", which is not the key "a". */
function endsSequence(keys) {
  const [before, last] = latestKeys;
  return last.timeStamp - before.timeStamp < SEQUENCE_MS && !keys.includes(" ") && boundKeys.has(`${before.key} ${keys}`);
}

function isDisabled(event, keys) {
  const off = document.documentElement.dataset.letters === "off" && !MODIFIERS.test(keys);
  // Until the next frame the focus may be in a dialog that has closed.
  return off || event.target.closest?.(TEXT_FIELDS)?.checkVisibility() || document.querySelector("dialog[open]");
}

function guardAction(keys, action) {
  return (event) => {
    if (isDisabled(event, keys) || endsSequence(keys)) return;
    event.preventDefault();
    action(event);
  };
}

/** List shortcuts that another module of this page handles. */
export function listKeys(...keys) {
  for (const key of keys) boundKeys.add(key);
  for (const row of keyRows) row.hidden = !row.dataset.keys.split("|").every((key) => boundKeys.has(key));
  const unlisted = keys.filter((key) => !keyRows.some((row) => row.dataset.keys.split("|").includes(key)));
  if (unlisted.length) console.error(`The table of keys does not name ${unlisted.join(", ")}`);
}

/** Bind shortcuts: {"j": (event) => ...}. They do nothing while the user types. */
export function bindKeys(actions) {
  tinykeys(window, Object.fromEntries(Object.entries(actions).map(([keys, action]) => [keys, guardAction(keys, action)])));
  listKeys(...Object.keys(actions));
}

function bindPages() {
  const links = [...document.querySelectorAll(".rail [data-go]")].filter(({ dataset }) => dataset.go);
  bindKeys(Object.fromEntries(links.map((link) => [`g ${link.dataset.go}`, () => link.click()])));
}

export function startKeys(palette) {
  window.addEventListener("keydown", rememberKey, true);
  bindPages();
  bindKeys({
    "/": () => palette.open(),
    "Shift+?": () => openDialog("keys"),
    [isQueue ? "Shift+C" : "c"]: openNewTicket,
    r: () => document.querySelector(".rail [data-go=r]").click(),
    "Shift+T": () => document.querySelector("[data-set=times]:not([aria-pressed=true])").click(),
  });
  const messageField = document.getElementById("say");
  if (messageField) bindKeys({ m: () => messageField.focus() });
  if (document.querySelector(TITLE_EDITOR)) bindKeys({ e: () => document.querySelector(TITLE_EDITOR)?.click() });
  tinykeys(window, {
    "$mod+k": (event) => {
      event.preventDefault();
      palette.open();
    },
  });
  listKeys("$mod+k", "$mod+Enter");
}
