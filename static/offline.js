// The offline page: it lists the cached pages, and reloads as soon as the server answers.

import { storageKey } from "./js/site/http.js";
import { isServerReachable } from "./js/site/connectivity.js";
import { startTimes } from "./js/site/times.js";

const RETRY_MS = 3_000;
const unsent = "unsent" in document.documentElement.dataset;

async function listCachedPages() {
  const place = document.querySelector("[data-kept-pages]");
  const pages = await caches.open(storageKey("pages"));
  for (const request of (await pages.keys()).reverse()) {
    const copy = new DOMParser().parseFromString(await (await pages.match(request)).text(), "text/html");
    const row = place.querySelector("template").content.firstElementChild.cloneNode(true);
    const { pathname, search } = new URL(request.url);
    row.querySelector("a").textContent = `${copy.title.replace(" · Mission Control", "")}${search && ` (${search.slice(1)})`}`;
    row.querySelector("a").href = pathname + search;
    row.querySelector("time").dateTime = copy.documentElement.dataset.kept;
    place.querySelector("ul").append(row);
  }
  place.hidden = !place.querySelector("li");
}

/** Wait for the server, then reload, or ask the user to send the form again: a script never sends it twice. */
async function waitForServer() {
  while (!(await isServerReachable())) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  if (unsent) document.querySelector("[data-told]").textContent = "Mission Control is back. Go back and send it now.";
  else location.reload();
}

if (unsent) sessionStorage.removeItem(storageKey("sent")); // keep the draft of the form
for (const element of document.querySelectorAll("[data-when]")) element.hidden = element.dataset.when !== (unsent ? "unsent" : "unvisited");
document.querySelector("[data-again]").hidden = unsent;
document.querySelector("[data-back]").hidden = !unsent;
document.querySelector("[data-back]").addEventListener("click", () => history.back());
addEventListener("online", () => unsent || location.reload());
listCachedPages().then(startTimes);
if (location.pathname !== "/offline") waitForServer(); // its own address replaces no page
