// The service worker: cached copies of visited pages for offline use, and notifications.
// The server prepends a line to this text: const SITE = {instance, version, files, shell, offline, icon}.

const PREFIX = `mc.${SITE.instance}.`;
const FILES = `${PREFIX}files.${SITE.version}`;
const PAGES = `${PREFIX}pages`;
const MAX_PAGES = 60;
const TIMEOUT_MS = 8_000; // then a cached copy is shown, if there is one

// The only pages that are cached: none of them shows a secret, and the tokens of their forms are removed.
const CACHEABLE_PATHS = [
  /^\/$/,
  /^\/board$/,
  /^\/ticket\/[A-Z]{2,8}-[0-9]+$/,
  /^\/activity$/,
  /^\/tasks$/,
  /^\/team$/,
  /^\/incidents$/,
];
const FORM_TOKEN = /(name="csrf" (?:value|content)=")[^"]*"/g;

// Life cycle: a new version takes over at once; open tabs that ask for old addresses get the present files.

addEventListener("install", (event) => event.waitUntil(install()));
addEventListener("activate", (event) => event.waitUntil(activate()));
addEventListener("message", (event) => event.waitUntil(MESSAGE_HANDLERS[event.data.kind]?.(event.data)));

async function install() {
  const files = await caches.open(FILES);
  await Promise.all(SITE.shell.map(async (address) => files.put(address, await fetchCurrent(address))));
  await skipWaiting();
}

/** Fetch a file of this version. During a reload of the server an old process may answer, which throws. */
async function fetchCurrent(address) {
  const response = await fetch(address);
  if (!response.ok || !isImmutable(response, address)) throw new Error(`${address} is not to be had in this version`);
  return response;
}

function isImmutable(response, address) {
  return address === SITE.offline || response.headers.get("Cache-Control")?.includes("immutable");
}

async function activate() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith("mc.") && name !== FILES && name !== PAGES).map((name) => caches.delete(name)));
  await cacheOpenTabs();
}

/** Cache the open pages. A tab that was loading while this worker was installed asks for it itself. */
async function cacheOpenTabs() {
  await clients.claim();
  const tabs = await clients.matchAll({ type: "window" });
  await Promise.all(tabs.map(async ({ url }) => isCacheable(url) && cachePage(url, await fetchOrNull(url))));
}

// Requests

addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (origin !== location.origin) return;
  if (request.mode === "navigate" && request.destination === "document") event.respondWith(answerNavigation(event, pathname));
  else if (request.method === "GET" && pathname.startsWith("/static/")) event.respondWith(answerFile(event, pathname));
});

/** Fetch the server's answer. Null without one, or with a proxy's error in its place. */
async function fetchOrNull(request) {
  const response = await fetch(request).catch(() => null);
  return response && [502, 504].includes(response.status) ? null : response;
}

async function answerNavigation(event, pathname) {
  const { request } = event;
  const pendingResponse = fetchOrNull(request);
  event.waitUntil(pendingResponse.then((response) => updateCache(request, pathname, response?.clone())));
  if (request.method !== "GET") return (await pendingResponse) ?? answerOffline({ unsent: true });
  const copy = await findCopy(request, pathname);
  const firstResponse = copy ? Promise.race([pendingResponse, new Promise((resolve) => setTimeout(resolve, TIMEOUT_MS, null))]) : pendingResponse;
  return (await firstResponse) ?? copy ?? answerOffline({ unsent: false });
}

/** Find the cached copy of a page; of a ticket also that of another tab, which shows most of it. */
async function findCopy(request, pathname) {
  const pages = await caches.open(PAGES);
  return (await pages.match(request)) ?? (pathname.startsWith("/ticket/") ? pages.match(request, { ignoreSearch: true }) : undefined);
}

/** Cache a page, or delete all copies when the log-in page is shown. */
async function updateCache(request, pathname, response) {
  if (pathname === "/login" && response?.ok) await caches.delete(PAGES);
  else if (request.method === "GET" && isCacheable(request.url)) await cachePage(request.url, response);
}

function isCacheable(address) {
  return CACHEABLE_PATHS.some((pattern) => pattern.test(new URL(address).pathname));
}

async function cachePage(address, response) {
  if (!response?.ok || response.redirected || !response.headers.get("Content-Type")?.startsWith("text/html")) return;
  const text = (await response.text()).replaceAll(FORM_TOKEN, '$1"').replace("<html ", `<html data-kept="${new Date().toISOString()}" `);
  const headers = new Headers(response.headers);
  for (const name of ["Content-Encoding", "Content-Length", "Set-Cookie"]) headers.delete(name);
  const pages = await caches.open(PAGES);
  await pages.delete(address);
  await pages.put(address, new Response(text, { headers }));
  for (const old of (await pages.keys()).slice(0, -MAX_PAGES)) await pages.delete(old);
}

/** The offline page, in place of a page that is not cached or of the answer to a form that was not sent. */
async function answerOffline({ unsent }) {
  const page = await caches.match(SITE.offline);
  if (!page) return Response.error();
  const text = (await page.text()).replace("<html ", unsent ? "<html data-unsent " : "<html ");
  return new Response(text, { status: 503, headers: page.headers });
}

async function answerFile(event, pathname) {
  const cached = await caches.match(pathname, { cacheName: FILES });
  if (cached) return cached;
  const response = await fetchOrNull(event.request);
  if (response?.ok && pathname.startsWith(SITE.files) && isImmutable(response, pathname)) event.waitUntil(cacheFile(pathname, response.clone()));
  return response ?? (await caches.match(pathname.replace(/^\/static\/[^/]+\//, SITE.files), { cacheName: FILES })) ?? Response.error();
}

/** Cache a file if the cache exists: `caches.open` would create it again after another version has deleted it. */
async function cacheFile(pathname, response) {
  if (await caches.has(FILES)) await (await caches.open(FILES)).put(pathname, response);
}

// Notifications

const MESSAGE_HANDLERS = { claim: cacheOpenTabs, needs: notify, settled: closeNotifications };

/** Show a notification, unless the ticket is visible in a tab. */
async function notify({ ticket, title, body }) {
  const href = `/ticket/${ticket}`;
  const tabs = await clients.matchAll({ type: "window" });
  if (tabs.some((tab) => tab.visibilityState === "visible" && new URL(tab.url).pathname === href)) return;
  await registration.showNotification(title, { body, tag: PREFIX + ticket, renotify: true, icon: SITE.icon, data: { href } });
}

async function closeNotifications({ tickets }) {
  const notifications = await Promise.all(tickets.map((ticket) => registration.getNotifications({ tag: PREFIX + ticket })));
  for (const notification of notifications.flat()) notification.close();
}

addEventListener("push", (event) => event.waitUntil(showPush(event.data.json())));

/** Show the notification of a push message, always: browsers withdraw the permission from a site that shows none. */
async function showPush({ key, tag, title, body, href, actions, silent = false }) {
  const fitting = actions.slice(0, Notification.maxActions ?? 0);
  await registration.showNotification(title, { body, tag: PREFIX + tag, renotify: !silent, silent, icon: SITE.icon, actions: fitting, data: { href, key } });
}

addEventListener("notificationclick", (event) => {
  const { action, notification } = event;
  notification.close();
  event.waitUntil(action ? answer(notification, action) : focusTab(notification.data.href));
});

/** Answer the question of a notification with one of its choices. Where that fails, say so, and a click opens the page. */
async function answer({ title, tag, data }, choice) {
  const problem = await sendAnswer(data.key, choice).catch(() => "Mission Control is unreachable. Tap to answer there.");
  if (problem) await registration.showNotification(title, { body: problem, tag, icon: SITE.icon, data });
}

/** Send an answer with the form token of a page, and return the problem, if any. */
async function sendAnswer(key, choice) {
  const page = await fetch("/help");
  const [, token] = (await page.text()).match(/name="csrf" (?:value|content)="([^"]*)"/) ?? [];
  if (!token) return "Log in to answer. Tap to open Mission Control.";
  const response = await fetch("/alerts/answer", { method: "POST", headers: { Accept: "application/json", "X-CSRF-Token": token }, body: new URLSearchParams({ key, choice }) });
  return response.ok ? null : (await response.json()).message;
}

async function focusTab(href) {
  const tabs = await clients.matchAll({ type: "window" });
  const tab = tabs.find(({ url }) => new URL(url).pathname === href);
  return tab ? tab.focus() : clients.openWindow(href);
}
