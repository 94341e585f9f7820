// The page at a plain address: it says which drafts this browser keeps there, and posts them to the board's own address.
// That address is in the fragment, which no server is sent. Only a name of this board at this port is taken.

import { storageKey } from "./js/site/http.js";

const TARGET = /^http:\/\/mc-[0-9a-f]{8}-[a-z2-7]{16}\.localhost:(\d+)\/drafts\/[0-9a-f.]+$/;
const PREFIX = storageKey("draft.");
const COPIED_KEY = storageKey("drafts-copied");

function listDrafts() {
  return Object.entries(localStorage).filter(([key]) => key.startsWith(PREFIX));
}

function findTarget() {
  const target = decodeURIComponent(location.hash.slice(1));
  return TARGET.exec(target)?.[1] === location.port ? target : null;
}

function postDrafts(target, drafts) {
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action: target, hidden: true });
  const field = document.createElement("input");
  Object.assign(field, { type: "hidden", name: "drafts", value: JSON.stringify(drafts) });
  form.append(field);
  document.body.append(form);
  localStorage.setItem(COPIED_KEY, "1");
  history.replaceState(null, "", location.pathname);
  form.submit();
}

function start() {
  const [drafts, target] = [listDrafts(), findTarget()];
  if (target) postDrafts(target, drafts);
  else document.querySelector("[data-drafts]").hidden = !drafts.length || localStorage.getItem(COPIED_KEY) !== null;
}

try {
  start();
} catch {
  // Storage is refused: this browser keeps no drafts.
}
