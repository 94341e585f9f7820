// What the server said about this page, and how to talk back to it.

export function meta(name) {
  return document.querySelector(`meta[name="${name}"]`)?.content ?? "";
}

/** The instance id: part of every name kept in the browser, since several instances may share a host. */
export const instance = meta("instance");

/** Newest event the page was rendered with, "<epoch>-<id>", or "". */
export const renderedCursor = meta("cursor");

/** How many tickets needed a person when the page was rendered. */
export const renderedNeeds = Number(meta("needs"));

export const storageKey = (name) => `mc.${instance}.${name}`;

/** Where the server refused or was not reached: `message` is fit to be shown, `form` is the form drawn anew, if it was. */
export class Refused extends Error {
  constructor(message, status, form = null) {
    super(message);
    this.status = status;
    this.form = form;
  }
}

/** A server-rendered fragment as text. */
export async function fetchFragment(url) {
  const response = await reach(url, { headers: { "HX-Request": "true", Accept: "text/html" } });
  if (!response.ok) throw new Refused(`The page part could not be read (${response.status}).`, response.status);
  return response.text();
}

/** What the API answers. */
export async function fetchJson(url) {
  const response = await reach(url, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Refused(`It could not be read (${response.status}).`, response.status);
  return response.json();
}

/** What a refusal says: JSON with a message, an error page or a form with [data-problem], or plain words. */
async function problemOf(response) {
  const text = await response.text();
  const type = response.headers.get("Content-Type") ?? "";
  if (type.includes("json")) return { message: JSON.parse(text).message };
  if (!type.includes("html")) return { message: text.trim() };
  const page = parseFragment(text);
  return { message: page.querySelector("[data-problem]")?.textContent.trim(), form: page.querySelector("form[data-redraw]") };
}

/** Post a form's data; resolves to where the server led, with the notices of that page. */
export async function post(url, data) {
  const response = await sent(url, data);
  return { url: response.url, notices: noticesIn(await response.text()) };
}

/** Post a form's data; resolves to the elements that the server draws of it. */
export async function fetchDrawn(url, data) {
  return parseFragment(await (await sent(url, data)).text());
}

async function sent(url, data) {
  const body = hasFiles(data) ? data : new URLSearchParams(data);
  if (!body.has("csrf")) body.set("csrf", meta("csrf"));
  const response = await reach(url, { method: "POST", body, headers: { Accept: "application/json" } });
  if (response.ok) return response;
  const { message, form } = await problemOf(response);
  throw new Refused(message || `The server refused (${response.status}). Reload the page and try again.`, response.status, form);
}

function hasFiles(data) {
  return data instanceof FormData && [...data.values()].some((value) => value instanceof File);
}

async function reach(url, options) {
  try {
    return await fetch(url, { credentials: "same-origin", ...options });
  } catch {
    throw new Refused("Mission Control was not reached. What you wrote is kept; try again when the connection is back.", 0);
  }
}

function noticesIn(html) {
  return [...parseFragment(html).querySelectorAll(".flashes > *")];
}

/** Elements of a server-rendered fragment, not yet in the page. */
export function parseFragment(html) {
  return parsePage(html).body;
}

export function parsePage(html) {
  return new DOMParser().parseFromString(html, "text/html");
}
