// The line of a new ticket: chips show the fields that it sets as it is typed. The server parses it (tickets/lifecycle/ticket_line.py).

import { morph } from "../site/fragments.js";
import { fetchFragment } from "../site/http.js";

const DEBOUNCE_MS = 120;
const CHIPS_URL = "/ticket/new/line";
const SHOWN_FIELDS = ["title", "plain", "assigned_to", "project"];
let timer = 0;
let lastRequest = 0;

function buildQuery(form) {
  const values = [...new FormData(form)].filter(([name]) => SHOWN_FIELDS.includes(name));
  return new URLSearchParams(values);
}

/** Begin the description with the template of a project that was just chosen, unless something else was written. */
function applyTemplate(form) {
  const { description } = form.elements;
  const previous = description.dataset.template ?? "";
  const template = form.querySelector("[data-chips] [data-description]").content.textContent;
  if (template === previous || !["", previous].includes(description.value)) return;
  description.value = template;
  description.dataset.template = template;
}

async function showChips(form) {
  const request = ++lastRequest;
  const chips = form.querySelector("[data-chips]");
  try {
    const html = await fetchFragment(`${CHIPS_URL}?${buildQuery(form)}`);
    if (request === lastRequest && chips.isConnected) {
      morph(chips, html);
      applyTemplate(form);
    }
  } catch {
    // The line is parsed again when the ticket is created.
  }
}

function schedule(form) {
  clearTimeout(timer);
  timer = setTimeout(() => showChips(form), DEBOUNCE_MS);
}

/** Let a part of the line be text instead of a field. */
function keepAsText(button) {
  const { form } = button;
  const input = Object.assign(document.createElement("input"), { type: "hidden", name: "plain", value: button.dataset.plain });
  form.querySelector("[data-chips]").append(input);
  form.elements.title.focus();
  showChips(form);
}

function applyTemplateOfPage() {
  const form = document.getElementById("ticket-form");
  if (form) applyTemplate(form);
}

export function startTicketLine() {
  applyTemplateOfPage();
  document.addEventListener("mc:fresh", applyTemplateOfPage);
  document.addEventListener("input", ({ target }) => target.form?.id === "ticket-form" && SHOWN_FIELDS.includes(target.name) && schedule(target.form));
  document.addEventListener("click", ({ target }) => target.closest("[data-plain]") && keepAsText(target.closest("[data-plain]")));
}
