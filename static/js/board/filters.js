// Filters of the board are applied in place, so that their menu stays open while several values are chosen.

import { morph } from "../site/fragments.js";
import { showError } from "../site/forms.js";
import { describeError, fetchFragment, parsePage } from "../site/http.js";

const PAGE = ".board-page";
let lastRequest = "";

async function showBoard(url) {
  lastRequest = url;
  try {
    const page = parsePage(await fetchFragment(url)).querySelector(PAGE);
    if (url !== lastRequest) return;
    morph(document.querySelector(PAGE), page, "outerHTML");
    history.replaceState(history.state, "", url);
    document.dispatchEvent(new CustomEvent("mc:filtered"));
  } catch (refusal) {
    showError(describeError(refusal));
  }
}

function buildUrl(form) {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  return `${form.getAttribute("action")}?${query}`;
}

export function startFilters() {
  document.addEventListener("submit", (event) => {
    if (!("filters" in event.target.dataset)) return;
    event.preventDefault();
    showBoard(buildUrl(event.target));
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-clear-filters]");
    if (!link || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    showBoard(link.getAttribute("href"));
  });
}
