// The console's frame: a terminal that shows a run's pane, and types into it where that was asked for.

import { FitAddon } from "./vendor/xterm-fit.js";
import { Terminal } from "./vendor/xterm.js";

const AGAIN = 2_000;
const OVER = 4_000; // close codes from here on are refusals: trying again is of no use

const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

/** A token of the look as a colour that the terminal understands; it knows no OKLCH. */
function colour(name) {
  const place = document.createElement("i");
  place.style.color = `var(${name})`;
  document.body.append(place);
  probe.fillStyle = getComputedStyle(place).color;
  place.remove();
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  return `rgb(${red}, ${green}, ${blue})`;
}

function theme() {
  return {
    background: colour("--surface-sunk"), foreground: colour("--text"), cursor: colour("--accent"),
    selectionBackground: colour("--line-control"), red: colour("--red"), green: colour("--green"), yellow: colour("--amber"),
    blue: colour("--blue"), magenta: colour("--violet"), cyan: colour("--teal"), black: colour("--n9"), white: colour("--n11"),
    brightBlack: colour("--n10"), brightWhite: colour("--n12"), brightRed: colour("--red"), brightGreen: colour("--green"),
    brightYellow: colour("--amber"), brightBlue: colour("--blue"), brightMagenta: colour("--violet"), brightCyan: colour("--teal"),
  };
}

class Console {
  #writes = "writes" in document.body.dataset;
  #link = document.getElementById("connection");
  #terminal = new Terminal({
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
    fontSize: matchMedia("(max-width: 700px)").matches ? 10 : 13,
    disableStdin: !this.#writes, cursorBlink: this.#writes, scrollback: 5_000, theme: theme(),
  });
  #fit = new FitAddon();
  #socket = null;

  constructor(place) {
    this.#terminal.loadAddon(this.#fit);
    this.#terminal.open(place);
    this.#terminal.onData((data) => this.#writes && this.#tell({ type: "input", data }));
    this.#terminal.onResize(({ cols, rows }) => this.#tell({ type: "resize", columns: cols, lines: rows }));
    new ResizeObserver(() => this.#fit.fit()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (this.#terminal.options.theme = theme()));
    if (this.#writes) this.#terminal.focus();
    this.#open();
  }

  #open() {
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws${location.pathname}${location.search}`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#begin();
    socket.onmessage = ({ data }) => (typeof data === "string" ? location.replace(location.pathname) : this.#terminal.write(new Uint8Array(data)));
    socket.onclose = ({ code, reason }) => this.#mend(code, reason);
    this.#socket = socket;
  }

  #begin() {
    this.#show("live", "Live");
    this.#terminal.reset();
    this.#fit.fit();
    this.#tell({ type: "resize", columns: this.#terminal.cols, lines: this.#terminal.rows });
  }

  #mend(code, reason) {
    this.#show("lost", code >= OVER ? reason : "Reconnecting");
    if (code < OVER) setTimeout(() => this.#open(), AGAIN);
  }

  #show(link, words) {
    this.#link.dataset.link = link;
    this.#link.querySelector(".word").textContent = words;
  }

  #tell(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}

document.fonts.load("13px 'JetBrains Mono'").finally(() => new Console(document.querySelector("[data-terminal]")));
