// Whether the server can be reached: asked once the stream is lost, and then again and again until it answers.

const PATIENCE = 5_000;
const PAUSES = [1_000, 2_000, 4_000, 8_000, 15_000];

/** Whether the server itself answers; a proxy in front of a server that is away does not count. */
export async function answers() {
  try {
    return (await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) })).ok;
  } catch {
    return false;
  }
}

/** Event: `change`. `away` while the server is not reached; `since` is when what the page shows was true. */
export class Reach extends EventTarget {
  #stream;
  #away = false;
  #since = new Date();
  #timer = 0;
  #tries = 0;

  constructor(stream) {
    super();
    this.#stream = stream;
    stream.addEventListener("link", ({ detail }) => this.#hear(detail));
    addEventListener("offline", () => this.#ask());
    addEventListener("online", () => this.#ask());
  }

  get away() {
    return this.#away;
  }

  get since() {
    return this.#since;
  }

  /** The page is a copy that was kept: it was true at that moment, and the server was not reached for a newer one. */
  showsCopy(kept) {
    this.#set(true, new Date(kept));
    this.#ask();
  }

  #hear(link) {
    if (link === "live") this.#set(false);
    else if (link === "lost") this.#ask();
  }

  async #ask() {
    clearTimeout(this.#timer);
    const found = await answers();
    clearTimeout(this.#timer);
    if (!found) this.#timer = setTimeout(() => this.#ask(), PAUSES[Math.min(this.#tries++, PAUSES.length - 1)]);
    this.#set(!found);
  }

  #set(away, since = new Date()) {
    if (!away) this.#tries = 0;
    if (away === this.#away) return;
    this.#away = away;
    if (away) this.#since = since;
    else this.#stream.retry();
    this.dispatchEvent(new Event("change"));
  }
}
