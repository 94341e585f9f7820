// Notifications, where this browser has permission: one for each ticket that newly needs a person.
// The tab that reads the stream passes them to the service worker, which knows which pages are open.

import { showError } from "./forms.js";
import { storageKey } from "./http.js";

const SETTING_KEY = storageKey("notify");
const STATUS_TEXTS = { in_progress: "is waiting for an answer", needs_input: "has a question", in_review: "is ready for review", blocked: "is blocked" };
const BLOCKED_TEXT = "This browser blocks notifications from Mission Control. Allow them for this address in the browser's settings, then try again.";

function isEnabled() {
  return Notification.permission === "granted" && localStorage.getItem(SETTING_KEY) === "on";
}

function showState(button) {
  button.setAttribute("aria-pressed", String(isEnabled()));
}

async function toggle(button) {
  if (isEnabled()) localStorage.removeItem(SETTING_KEY);
  else if ((await Notification.requestPermission()) === "granted") localStorage.setItem(SETTING_KEY, "on");
  else showError(BLOCKED_TEXT);
  showState(button);
}

async function sendToWorker(message) {
  if (isEnabled()) (await navigator.serviceWorker.ready).active.postMessage(message);
}

/** Permission is requested only by a click, and not offered where the browser has none (plain HTTP on another host). */
export function startNotifications(attention) {
  const button = document.querySelector("[data-notify]");
  if (!("Notification" in window && "serviceWorker" in navigator) || !button) return;
  button.hidden = false;
  showState(button);
  button.addEventListener("click", () => toggle(button));
  attention.addEventListener("settled", ({ detail }) => sendToWorker({ kind: "settled", tickets: detail }));
  attention.addEventListener("fresh", ({ detail }) => {
    for (const { ticket, title, status, line } of detail) sendToWorker({ kind: "needs", ticket, title: `${ticket} ${STATUS_TEXTS[status] ?? "needs you"}`, body: [title, line].filter(Boolean).join("\n") });
  });
}
