// Without the server: the worker that keeps copies of pages, forms that wait, and a copy that comes to life again.

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

/** Where there is none (plain HTTP on another host) the pages work as ever, with the server only. */
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

/** A plain form would lead to a page that cannot be had; those that are sent by script say so themselves. */
function refuseSubmit(event) {
  const form = event.target;
  if (form.method !== "post" || "enhance" in form.dataset) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  showError("You're offline. What you wrote is kept here: send it when the connection is back.", form.querySelector("[data-error]"));
}

/** A copy holds no tokens. */
function setToken(token) {
  document.querySelector("meta[name=csrf]").content = token;
  for (const field of document.querySelectorAll("input[name=csrf]")) field.value = token;
}

/** A copy becomes the page itself again, part by part, with what somebody typed or unfolded in the meantime. */
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
