// Times in the viewer's zone: how long ago or whole, as the viewer chose; the whole stamp on hover, on a tap and in focus.

const UNITS = [[31_536_000, "y"], [2_592_000, "mo"], [86_400, "d"], [3_600, "h"], [60, "min"]];
const STAMP = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const SHORT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
const GAP = 6;

function length(seconds) {
  const unit = UNITS.find(([size]) => seconds >= size);
  return unit ? `${Math.floor(seconds / unit[0])} ${unit[1]}` : "now";
}

function ago(seconds) {
  const words = length(Math.abs(seconds));
  if (words === "now") return "just now";
  return seconds < 0 ? `in ${words}` : `${words} ago`;
}

const WORDINGS = {
  ago: (date) => ago((Date.now() - date) / 1000),
  age: (date) => length(Math.abs(Date.now() - date) / 1000),
  clock: (date) => SHORT.format(date),
};

function wordingOf({ time }) {
  const whole = document.documentElement.dataset.times === "whole" && time in WORDINGS;
  return whole ? WORDINGS.clock : WORDINGS[time];
}

function write(element) {
  const date = new Date(element.dateTime);
  if (Number.isNaN(date.valueOf())) return;
  const text = wordingOf(element.dataset)?.(date) ?? element.textContent;
  if (element.textContent !== text) element.textContent = text;
  element.title = `${element.dataset.label ?? ""} ${STAMP.format(date)}`.trim();
  if (!element.closest("a, button, summary, label")) element.tabIndex = -1; // a tap can focus it; the Tab key passes by
}

function writeAll(root) {
  for (const element of root.querySelectorAll("time[data-time]")) write(element);
}

function writeClock() {
  const clock = document.querySelector("[data-clock]");
  if (!clock) return;
  clock.textContent = CLOCK.format(new Date());
  clock.title = Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** Beside a time that has the focus, or that is all there is in the link that has it. */
function showStamp(event) {
  const stamp = document.getElementById("stamp");
  const time = event.type === "focusin" && (event.target.matches("time[data-time]") ? event.target : event.target.querySelector(":scope > time[data-time]:only-child"));
  stamp?.hidePopover();
  if (!stamp || !time) return;
  stamp.textContent = time.title;
  stamp.showPopover();
  const { left, bottom, top } = time.getBoundingClientRect();
  const { width, height } = stamp.getBoundingClientRect();
  stamp.style.left = `${Math.max(GAP, Math.min(left, innerWidth - width - GAP))}px`;
  stamp.style.top = `${bottom + GAP + height < innerHeight ? bottom + GAP : top - GAP - height}px`;
}

export function startTimes() {
  const tick = () => {
    writeAll(document);
    writeClock();
  };
  tick();
  setInterval(tick, 30_000);
  document.addEventListener("mc:set", tick);
  document.addEventListener("mc:fresh", ({ detail }) => writeAll(detail.root));
  document.addEventListener("focusin", showStamp);
  document.addEventListener("focusout", showStamp);
  document.addEventListener("scroll", showStamp, true);
}
