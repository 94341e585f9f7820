// What the server said about this page, and how to talk back to it.

function meta(name) {
  return document.querySelector(`meta[name="${name}"]`)?.content ?? "";
}

/** The instance id: part of every name kept in the browser, since several instances may share a host. */
export const instance = meta("instance");

/** Newest event the page was rendered with, "<epoch>-<id>", or "". */
export const renderedCursor = meta("cursor");

export const storageKey = (name) => `mc.${instance}.${name}`;

/** Where the server refused or was not reached: `message` is fit to be shown. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** A server-rendered fragment as text. */
export async function fetchFragment(url) {
  const response = await reach(url, { headers: { "HX-Request": "true", Accept: "text/html" } });
  if (!response.ok) throw new Refused(`The page part could not be read (${response.status}).`, response.status);
  return response.text();
}

/** What a refusal says: JSON with a message, an error page with [data-problem], or plain words. */
async function problemOf(response) {
  const text = await response.text();
  const type = response.headers.get("Content-Type") ?? "";
  if (type.includes("json")) return JSON.parse(text).message;
  if (type.includes("html")) return parseFragment(text).querySelector("[data-problem]")?.textContent;
  return text.trim();
}

/** Post a form's data; resolves to where the server led, with the notices of that page. */
export async function post(url, data) {
  const body = new URLSearchParams(data);
  if (!body.has("csrf")) body.set("csrf", meta("csrf"));
  const response = await reach(url, { method: "POST", body, headers: { Accept: "application/json" } });
  if (response.ok) return { url: response.url, notices: noticesIn(await response.text()) };
  const said = await problemOf(response);
  throw new Refused(said || `The server refused (${response.status}). Reload the page and try again.`, response.status);
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
  return new DOMParser().parseFromString(html, "text/html").body;
}
