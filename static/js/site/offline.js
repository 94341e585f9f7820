// Offline use: the service worker with its cached pages, forms that wait, and refreshing a cached page.

import { showError, showNotices } from "./forms.js";
import { morph } from "./fragments.js";
import { parsePage } from "./http.js";

const PART_SELECTORS = [".rail", ".bottom", "#health", "main"];
const root = document.documentElement;

export function startOffline(connectivity) {
  document.addEventListener("submit", (event) => connectivity.away && refuseSubmit(event), true);
  connectivity.addEventListener("change", () => connectivity.away || replaceCopy());
  if (root.dataset.kept) {
    document.querySelector(".flashes").replaceChildren(); // what was said on that page then was for then
    connectivity.showCopy(root.dataset.kept);
  }
  startWorker(connectivity);
}

/** Without service workers (plain HTTP on another host) the pages need the server. */
async function startWorker(connectivity) {
  const workers = navigator.serviceWorker;
  if (!workers) return;
  const previousWorker = workers.controller;
  workers.addEventListener("controllerchange", () => previousWorker && showNotices([document.getElementById("updated").content.cloneNode(true)]));
  const registration = await workers.register("/worker.js", { updateViaCache: "none" }).catch(() => null);
  connectivity.addEventListener("change", () => connectivity.away || registration?.update().catch(() => {}));
  const { active } = await workers.ready;
  if (!workers.controller) active.postMessage({ kind: "claim" });
}

/** Stop plain forms while offline. Forms that a script sends show the error themselves. */
function refuseSubmit(event) {
  const form = event.target;
  if (form.method !== "post" || "enhance" in form.dataset) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  showError("You're offline. Your text is saved here. Send it when you are back online.", form.querySelector("[data-error]"));
}

/** Put the form token into the page, since a cached copy contains none. */
function setToken(token) {
  document.querySelector("meta[name=csrf]").content = token;
  for (const field of document.querySelectorAll("input[name=csrf]")) field.value = token;
}

/** Refresh a cached copy part by part. Text and open details stay. */
async function replaceCopy() {
  if (!root.dataset.kept) return;
  const response = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!response) return;
  if (!response.ok || response.redirected) {
    location.reload(); // the log-in has ended, or the page is gone: the server says which
    return;
  }
  const page = parsePage(await response.text());
  setToken(page.querySelector("meta[name=csrf]").content);
  for (const part of PART_SELECTORS) {
    const [currentPart, newPart] = [document.querySelector(part), page.querySelector(part)];
    if (currentPart && newPart) morph(currentPart, newPart.outerHTML, "outerHTML");
  }
  delete root.dataset.kept;
}
