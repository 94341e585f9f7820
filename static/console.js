// The console's frame: a terminal that shows a run's pane, and sends keys to it when typing is enabled.

import { FitAddon } from "./vendor/xterm-fit.js";
import { Terminal } from "./vendor/xterm.js";

const RETRY_MS = 2_000;
const FIRST_REFUSAL_CODE = 4_000; // close codes from here on are refusals: no retry

const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

/** Convert a colour token for the terminal, which does not understand OKLCH. */
function resolveColour(name) {
  const place = document.createElement("i");
  place.style.color = `var(${name})`;
  document.body.append(place);
  probe.fillStyle = getComputedStyle(place).color;
  place.remove();
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  return `rgb(${red}, ${green}, ${blue})`;
}

function buildTheme() {
  return {
    background: resolveColour("--surface-sunk"), foreground: resolveColour("--text"), cursor: resolveColour("--accent"),
    selectionBackground: resolveColour("--line-control"), red: resolveColour("--red"), green: resolveColour("--green"), yellow: resolveColour("--amber"),
    blue: resolveColour("--blue"), magenta: resolveColour("--violet"), cyan: resolveColour("--teal"), black: resolveColour("--n9"), white: resolveColour("--n11"),
    brightBlack: resolveColour("--n10"), brightWhite: resolveColour("--n12"), brightRed: resolveColour("--red"), brightGreen: resolveColour("--green"),
    brightYellow: resolveColour("--amber"), brightBlue: resolveColour("--blue"), brightMagenta: resolveColour("--violet"), brightCyan: resolveColour("--teal"),
  };
}

class Console {
  #isWritable = "writes" in document.body.dataset;
  #link = document.getElementById("connection");
  #terminal = new Terminal({
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
    fontSize: matchMedia("(max-width: 700px)").matches ? 10 : 13,
    disableStdin: !this.#isWritable, cursorBlink: this.#isWritable, scrollback: 5_000, theme: buildTheme(),
  });
  #fit = new FitAddon();
  #socket = null;

  constructor(place) {
    this.#terminal.loadAddon(this.#fit);
    this.#terminal.open(place);
    this.#terminal.onData((data) => this.#isWritable && this.#send({ type: "input", data }));
    this.#terminal.onResize(({ cols, rows }) => this.#send({ type: "resize", columns: cols, lines: rows }));
    new ResizeObserver(() => this.#fit.fit()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (this.#terminal.options.theme = buildTheme()));
    if (this.#isWritable) this.#terminal.focus();
    this.#open();
  }

  #open() {
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws${location.pathname}${location.search}`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#start();
    socket.onmessage = ({ data }) => (typeof data === "string" ? location.replace(location.pathname) : this.#terminal.write(new Uint8Array(data)));
    socket.onclose = ({ code, reason }) => this.#reconnect(code, reason);
    this.#socket = socket;
  }

  #start() {
    this.#showStatus("live", "Live");
    this.#terminal.reset();
    this.#fit.fit();
    this.#send({ type: "resize", columns: this.#terminal.cols, lines: this.#terminal.rows });
  }

  #reconnect(code, reason) {
    this.#showStatus("lost", code >= FIRST_REFUSAL_CODE ? reason : "Reconnecting");
    if (code < FIRST_REFUSAL_CODE) setTimeout(() => this.#open(), RETRY_MS);
  }

  #showStatus(link, words) {
    this.#link.dataset.link = link;
    this.#link.querySelector(".label").textContent = words;
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}

document.fonts.load("13px 'JetBrains Mono'").finally(() => new Console(document.querySelector("[data-terminal]")));
