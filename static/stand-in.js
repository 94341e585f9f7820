// The page in place of one that cannot be had: it lists what can be shown, and gives way as soon as the server answers.

import { storageKey } from "./js/page.js";
import { answers } from "./js/reach.js";
import { startTimes } from "./js/times.js";

const PAUSE = 3_000;
const unsent = "unsent" in document.documentElement.dataset;

async function listKept() {
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

/** A form is not sent a second time behind somebody's back: they are told, and go back to it themselves. */
async function watch() {
  while (!(await answers())) await new Promise((resolve) => setTimeout(resolve, PAUSE));
  if (unsent) document.querySelector("[data-told]").textContent = "Mission Control answers again. Go back, and send it now.";
  else location.reload();
}

if (unsent) sessionStorage.removeItem(storageKey("sent")); // so the draft of the form stays
for (const part of document.querySelectorAll("[data-when]")) part.hidden = part.dataset.when !== (unsent ? "unsent" : "unvisited");
document.querySelector("[data-again]").hidden = unsent;
document.querySelector("[data-back]").hidden = !unsent;
document.querySelector("[data-back]").addEventListener("click", () => history.back());
addEventListener("online", () => unsent || location.reload());
listKept().then(startTimes);
if (location.pathname !== "/offline") watch(); // at its own address it stands for nothing
