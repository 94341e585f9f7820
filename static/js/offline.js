// Without the server: the worker that keeps copies of pages, forms that wait, and a copy that comes to life again.

import { say, showNotices } from "./forms.js";
import { morph } from "./fragments.js";
import { parsePage } from "./page.js";

const PARTS = [".rail", ".bottom", "#health", "main"];
const root = document.documentElement;

export function startOffline(reach) {
  document.addEventListener("submit", (event) => reach.away && hold(event), true);
  reach.addEventListener("change", () => reach.away || comeBack());
  if (root.dataset.kept) {
    document.querySelector(".flashes").replaceChildren(); // what was said on that page then was for then
    reach.showsCopy(root.dataset.kept);
  }
  startWorker(reach);
}

/** Where there is none (plain HTTP on another host) the pages work as ever, with the server only. */
async function startWorker(reach) {
  const workers = navigator.serviceWorker;
  if (!workers) return;
  const before = workers.controller;
  workers.addEventListener("controllerchange", () => before && showNotices([document.getElementById("updated").content.cloneNode(true)]));
  const registration = await workers.register("/worker.js", { updateViaCache: "none" }).catch(() => null);
  reach.addEventListener("change", () => reach.away || registration?.update().catch(() => {}));
  const { active } = await workers.ready;
  if (!workers.controller) active.postMessage({ kind: "claim" });
}

/** A plain form would lead to a page that cannot be had; those that are sent by script say so themselves. */
function hold(event) {
  const form = event.target;
  if (form.method !== "post" || "enhance" in form.dataset) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  say("You're offline. What you wrote is kept here: send it when the connection is back.", form.querySelector("[data-error]"));
}

/** A copy holds no tokens. */
function takeToken(token) {
  document.querySelector("meta[name=csrf]").content = token;
  for (const field of document.querySelectorAll("input[name=csrf]")) field.value = token;
}

/** A copy becomes the page itself again, part by part, with what somebody typed or unfolded in the meantime. */
async function comeBack() {
  if (!root.dataset.kept) return;
  const response = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!response) return;
  if (!response.ok || response.redirected) {
    location.reload(); // the log-in has ended, or the page is gone: the server says which
    return;
  }
  const fresh = parsePage(await response.text());
  takeToken(fresh.querySelector("meta[name=csrf]").content);
  for (const part of PARTS) {
    const [shown, now] = [document.querySelector(part), fresh.querySelector(part)];
    if (shown && now) morph(shown, now.outerHTML, "outerHTML");
  }
  delete root.dataset.kept;
}
