// The page of alerts: subscribe this browser to push notifications.

import { leaveFor, showError } from "./js/site/forms.js";
import { postForm } from "./js/site/http.js";

const section = document.querySelector("[data-push-key]");
const button = section?.querySelector("[data-subscribe]");
const DENIED_TEXT = "This browser blocks notifications from Mission Control. Allow them for this address in the browser's settings, then try again.";

/** Decode base64url, as the push manager wants the key as bytes. */
function decodeKey(text) {
  const base64 = text.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

async function subscribe() {
  if ((await Notification.requestPermission()) !== "granted") return showError(DENIED_TEXT);
  const registration = await navigator.serviceWorker.ready;
  const former = await registration.pushManager.getSubscription();
  await former?.unsubscribe(); // it may be for a former key
  const subscription = await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: decodeKey(section.dataset.pushKey) });
  const { endpoint, keys } = subscription.toJSON();
  const { url, notices } = await postForm("/settings/alerts/push/subscriptions", { endpoint, p256dh: keys.p256dh, auth: keys.auth });
  leaveFor(url, notices);
}

if (button && "PushManager" in window && "serviceWorker" in navigator) {
  button.hidden = false;
  button.addEventListener("click", () => subscribe().catch((error) => showError(`This browser could not be subscribed: ${error.message}`)));
}
