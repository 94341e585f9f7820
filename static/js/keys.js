// Keys of every page. Single letters are quiet while somebody types or a dialog is open.

import { tinykeys } from "../vendor/tinykeys.js";
import { openDialog } from "./floats.js";
import { newTicket } from "./newticket.js";

const TYPING = "input, textarea, select, [contenteditable]";

function free(action) {
  return (event) => {
    if (event.target.closest?.(TYPING) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    action(event);
  };
}

/** actions: {"j": (event) => ...}; the keys work where nobody is typing. */
export function bindKeys(actions) {
  tinykeys(window, Object.fromEntries(Object.entries(actions).map(([keys, action]) => [keys, free(action)])));
}

function press(selector) {
  const element = document.querySelector(selector);
  if (element?.matches(TYPING)) element.focus();
  else element?.click();
}

export function startKeys(palette) {
  const go = (href) => () => location.assign(href);
  bindKeys({
    "/": () => palette.open(),
    "Shift+?": () => openDialog("keys"),
    c: newTicket,
    r: () => press("[data-key='r']"),
    e: () => press("[data-key='e']"),
    "g b": go("/board"),
    "g o": go("/"),
    "g a": go("/activity"),
    "g t": go("/tasks"),
    "g i": go("/incidents"),
  });
  tinykeys(window, {
    "$mod+k": (event) => {
      event.preventDefault();
      palette.open();
    },
  });
}
