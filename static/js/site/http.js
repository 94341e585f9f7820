// What the server said about this page, and how to talk back to it.

export function readMeta(name) {
  return document.querySelector(`meta[name="${name}"]`)?.content ?? "";
}

/** The instance id: part of every name kept in the browser, since several instances may share a host. */
export const instance = readMeta("instance");

/** Newest event the page was rendered with, "<epoch>-<id>", or "". */
export const renderedCursor = readMeta("cursor");

/** How many tickets needed a person when the page was rendered. */
export const renderedNeeds = Number(readMeta("needs"));

export const storageKey = (name) => `mc.${instance}.${name}`;

/** Where the server refused or was not reached: `message` is fit to be shown, `form` is the form drawn anew, if it was. */
export class RefusedError extends Error {
  constructor(message, status, form = null) {
    super(message);
    this.status = status;
    this.form = form;
  }
}

/** A server-rendered fragment as text. */
export async function fetchFragment(url) {
  const response = await request(url, { headers: { "HX-Request": "true", Accept: "text/html" } });
  if (!response.ok) throw new RefusedError(`The page part could not be read (${response.status}).`, response.status);
  return response.text();
}

/** What the API answers. */
export async function fetchJson(url) {
  const response = await request(url, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new RefusedError(`It could not be read (${response.status}).`, response.status);
  return response.json();
}

/** What a refusal says: JSON with a message, an error page or a form with [data-problem], or plain words. */
async function readProblem(response) {
  const text = await response.text();
  const type = response.headers.get("Content-Type") ?? "";
  if (type.includes("json")) return { message: JSON.parse(text).message };
  if (!type.includes("html")) return { message: text.trim() };
  const page = parseFragment(text);
  return { message: page.querySelector("[data-problem]")?.textContent.trim(), form: page.querySelector("form[data-redraw]") };
}

/** Post a form's data; resolves to where the server led, with the notices of that page. */
export async function postForm(url, data) {
  const response = await sendForm(url, data);
  return { url: response.url, notices: listNotices(await response.text()) };
}

/** Post a form's data; resolves to the elements that the server draws of it. */
export async function postForElements(url, data) {
  return parseFragment(await (await sendForm(url, data)).text());
}

async function sendForm(url, data) {
  const body = hasFiles(data) ? data : new URLSearchParams(data);
  if (!body.has("csrf")) body.set("csrf", readMeta("csrf"));
  const response = await request(url, { method: "POST", body, headers: { Accept: "application/json" } });
  if (response.ok) return response;
  const { message, form } = await readProblem(response);
  throw new RefusedError(message || `The server refused (${response.status}). Reload the page and try again.`, response.status, form);
}

function hasFiles(data) {
  return data instanceof FormData && [...data.values()].some((value) => value instanceof File);
}

async function request(url, options) {
  try {
    return await fetch(url, { credentials: "same-origin", ...options });
  } catch {
    throw new RefusedError("Mission Control was not reached. What you wrote is kept; try again when the connection is back.", 0);
  }
}

function listNotices(html) {
  return [...parseFragment(html).querySelectorAll(".flashes > *")];
}

/** Elements of a server-rendered fragment, not yet in the page. */
export function parseFragment(html) {
  return parsePage(html).body;
}

export function parsePage(html) {
  return new DOMParser().parseFromString(html, "text/html");
}
