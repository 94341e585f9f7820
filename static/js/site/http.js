// The page's data from the server, and requests to it.

import { askForProof } from "./proof.js";

const PROOF_URL = "/proof";

export function readMeta(name) {
  return document.querySelector(`meta[name="${name}"]`)?.content ?? "";
}

/** The instance id: part of every key in the browser's storage, since several instances may share a host. */
export const instance = readMeta("instance");

/** Cursor of the newest event at the time of rendering, "<epoch>-<id>", or "". */
export const renderedCursor = readMeta("cursor");

/** Number of tickets that needed a person at the time of rendering. */
export const renderedNeeds = Number(readMeta("needs"));

export const storageKey = (name) => `mc.${instance}.${name}`;

/** The server refused or was unreachable. `message` can be shown; `form` is the form as rendered again, if it was. */
export class RefusedError extends Error {
  constructor(message, status, form = null) {
    super(message);
    this.status = status;
    this.form = form;
  }
}

/** Describe an error to the user. An error of a script is reported in the console. */
export function describeError(error) {
  if (error instanceof RefusedError) return error.message;
  console.error(error);
  return "Something went wrong on this page. Your text is still here: copy it, reload the page, and try again.";
}

/** Fetch a server-rendered fragment as text. */
export async function fetchFragment(url) {
  const response = await request(url, { headers: { "HX-Request": "true", Accept: "text/html" } });
  if (!response.ok) throw new RefusedError(`This part of the page could not be loaded (${response.status}).`, response.status);
  return response.text();
}

/** Fetch JSON from the API. */
export async function fetchJson(url) {
  const response = await request(url, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new RefusedError(`It could not be loaded (${response.status}).`, response.status);
  return response.json();
}

/**
 * Read the message of a refusal: JSON with a message, an error page or form with [data-problem], or plain text; and the form
 * in which the server asks for a proof of who uses this browser.
 */
async function readProblem(response) {
  const text = await response.text();
  const type = response.headers.get("Content-Type") ?? "";
  if (type.includes("json")) return { message: JSON.parse(text).message };
  if (!type.includes("html")) return { message: text.trim() };
  const page = parseFragment(text);
  const [form, proofForm] = ["redraw", "proof"].map((name) => page.querySelector(`form[data-${name}]`));
  return { message: page.querySelector("[data-problem]")?.textContent.trim(), form, proofForm };
}

/** Post a form's data. Resolves to the address to which the server redirected, its notices, and the form for the next entry. */
export async function postForm(url, data) {
  const response = await sendForm(url, data);
  const page = parseFragment(await response.text());
  return { url: response.url, notices: [...page.querySelectorAll(".flashes > *")], nextForm: page.querySelector("form[data-next]") };
}

/** Post a form's data. Resolves to the elements that the server rendered from it. */
export async function postForElements(url, data) {
  return parseFragment(await (await sendForm(url, data)).text());
}

async function sendForm(url, data) {
  const body = hasFiles(data) ? data : new URLSearchParams(data);
  if (!body.has("csrf")) body.set("csrf", readMeta("csrf"));
  const response = await request(url, { method: "POST", body, headers: { Accept: "application/json" } });
  if (response.ok) return response;
  const { message, form, proofForm } = await readProblem(response);
  if (proofForm && url !== PROOF_URL && (await askForProof(proofForm, (proof) => sendForm(PROOF_URL, proof)))) return sendForm(url, data);
  throw new RefusedError(message || `The server refused the request (${response.status}). Reload the page and try again.`, response.status, form);
}

function hasFiles(data) {
  return data instanceof FormData && [...data.values()].some((value) => value instanceof File);
}

async function request(url, options) {
  try {
    return await fetch(url, { credentials: "same-origin", ...options });
  } catch {
    throw new RefusedError("Mission Control is unreachable. Your text is kept; try again when you are back online.", 0);
  }
}

/** Parse a server-rendered fragment into elements outside the page. */
export function parseFragment(html) {
  return parsePage(html).body;
}

export function parsePage(html) {
  return new DOMParser().parseFromString(html, "text/html");
}
