// The page to which the former address posts its drafts: it stores those of which this browser has no other version here.

import { storageKey } from "./js/site/http.js";

const PREFIX = storageKey("draft.");

/** Return whether a pair is a draft as js/site/drafts.js stores it. */
function isDraft([key, value]) {
  try {
    return key.startsWith(PREFIX) && JSON.parse(value).every(([name]) => typeof name === "string");
  } catch {
    return false;
  }
}

function copyDrafts(text) {
  const drafts = JSON.parse(text).filter(isDraft);
  const missing = drafts.filter(([key]) => localStorage.getItem(key) === null);
  for (const [key, value] of missing) localStorage.setItem(key, value);
  return missing.length;
}

const state = document.querySelector("[data-state]");
try {
  const count = copyDrafts(document.querySelector("meta[name=drafts]").content);
  state.textContent = count === 1 ? "1 draft was copied." : `${count} drafts were copied.`;
} catch {
  state.textContent = "The drafts could not be read. They are still at the former address.";
}
