// Notifications, where this browser was asked for them: one for each ticket that comes to need somebody.
// The tab that reads the stream hands them to the service worker, which knows what all tabs show.

import { say } from "./forms.js";
import { storageKey } from "./page.js";

const WANTED = storageKey("notify");
const SAYS = { in_progress: "waits for an answer", needs_input: "has a question", in_review: "is ready for review", blocked: "is blocked" };
const BLOCKED = "This browser blocks notifications of Mission Control. Allow them for this address in the browser's settings, then try again.";

function isWanted() {
  return Notification.permission === "granted" && localStorage.getItem(WANTED) === "on";
}

function show(button) {
  button.setAttribute("aria-pressed", String(isWanted()));
}

async function toggle(button) {
  if (isWanted()) localStorage.removeItem(WANTED);
  else if ((await Notification.requestPermission()) === "granted") localStorage.setItem(WANTED, "on");
  else say(BLOCKED);
  show(button);
}

async function hand(message) {
  if (isWanted()) (await navigator.serviceWorker.ready).active.postMessage(message);
}

/** Never asked for by itself; and not offered where the browser has none, as over plain HTTP on another host. */
export function startNotifying(needs) {
  const button = document.querySelector("[data-notify]");
  if (!("Notification" in window && "serviceWorker" in navigator) || !button) return;
  button.hidden = false;
  show(button);
  button.addEventListener("click", () => toggle(button));
  needs.addEventListener("settled", ({ detail }) => hand({ kind: "settled", tickets: detail }));
  needs.addEventListener("fresh", ({ detail }) => {
    for (const { ticket, title, status, line } of detail) hand({ kind: "needs", ticket, title: `${ticket} ${SAYS[status] ?? "needs you"}`, body: [title, line].filter(Boolean).join("\n") });
  });
}
