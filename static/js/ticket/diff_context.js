// Unchanged lines that a diff leaves out, shown twenty at a time.

import { markBusy } from "../site/loading.js";
import { describeError, fetchFragment, parsePage } from "../site/http.js";
import { showError } from "../site/forms.js";

const SIZE = 20;

/** Parse rows, which need a table around them. */
function parseRows(html) {
  return [...parsePage(`<table>${html}</table>`).querySelectorAll("tr")];
}

/** Reduce a gap by the lines that were inserted, and remove it when nothing is left. */
function reduceGap(gap, count) {
  const { start, end } = gap.dataset;
  if (end) gap.dataset.end = end - count;
  else gap.dataset.start = Number(start) + count;
  const isEmpty = end ? Number(gap.dataset.end) < Number(start) : count < SIZE;
  if (isEmpty) gap.remove();
}

async function expandGap(button, address) {
  const gap = button.closest("[data-gap]");
  const { start, end, shift } = gap.dataset;
  const url = new URL(address, location);
  const fields = { path: gap.closest("[data-file]").dataset.file, start, shift, ...(end && { end }) };
  for (const [name, value] of Object.entries(fields)) url.searchParams.set(name, value);
  try {
    const rows = parseRows(await markBusy(button, () => fetchFragment(url)));
    if (end) gap.after(...rows);
    else gap.before(...rows);
    rows[0]?.querySelector("[data-remark]")?.focus();
    reduceGap(gap, rows.length);
  } catch (refusal) {
    showError(describeError(refusal));
  }
}

export function startContext(root) {
  root.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-expand]");
    if (button) expandGap(button, root.dataset.context);
  });
}
