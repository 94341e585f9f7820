// Whether the server can be reached: probed once the stream is lost, and repeatedly until it answers.

const TIMEOUT_MS = 5_000;
const RETRY_DELAYS_MS = [1_000, 2_000, 4_000, 8_000, 15_000];

/** Return whether the server itself answers. An answer of a proxy in front of it does not count. */
export async function isServerReachable() {
  try {
    return (await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) })).ok;
  } catch {
    return false;
  }
}

/** Leave for the log-in page when this browser was logged out elsewhere, such as in another tab. */
async function leaveWhenLoggedOut() {
  const response = await fetch("/api/v1/needs-you", { cache: "no-store" }).catch(() => null);
  if (response?.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** Event: `change`. `away` is true while the server is unreachable; `since` is the time of the page's data. */
export class Connectivity extends EventTarget {
  #stream;
  #isAway = false;
  #since = new Date();
  #timer = 0;
  #attempts = 0;

  constructor(stream) {
    super();
    this.#stream = stream;
    stream.addEventListener("link", ({ detail }) => this.#receiveLink(detail));
    addEventListener("offline", () => this.#checkServer());
    addEventListener("online", () => this.#checkServer());
  }

  get away() {
    return this.#isAway;
  }

  get since() {
    return this.#since;
  }

  /** Show that the page is a cached copy from that time. */
  showCopy(kept) {
    this.#setAway(true, new Date(kept));
    this.#checkServer();
  }

  #receiveLink(link) {
    if (link === "live") this.#setAway(false);
    else if (link === "lost") this.#checkServer();
  }

  async #checkServer() {
    clearTimeout(this.#timer);
    const isReachable = await isServerReachable();
    clearTimeout(this.#timer);
    if (isReachable) leaveWhenLoggedOut();
    else this.#timer = setTimeout(() => this.#checkServer(), RETRY_DELAYS_MS[Math.min(this.#attempts++, RETRY_DELAYS_MS.length - 1)]);
    this.#setAway(!isReachable);
  }

  #setAway(away, since = new Date()) {
    if (!away) this.#attempts = 0;
    if (away === this.#isAway) return;
    this.#isAway = away;
    if (away) this.#since = since;
    else this.#stream.retry();
    this.dispatchEvent(new Event("change"));
  }
}
