// The service worker at a plain address, where earlier versions served the board: it deletes its caches and removes itself.
// The server prepends a line to this text: const INSTANCE = "<instance>".

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(removeItself()));

async function removeItself() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(`mc.${INSTANCE}.`)).map((name) => caches.delete(name)));
  await registration.unregister();
}
