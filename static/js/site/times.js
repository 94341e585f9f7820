// Times in the viewer's zone, relative or absolute by the viewer's setting; the full timestamp on hover, tap and focus.

const UNITS = [[31_536_000, "y"], [2_592_000, "mo"], [86_400, "d"], [3_600, "h"], [60, "min"]];
const FULL_FORMAT = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const SHORT_FORMAT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const ZONE_FORMAT = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
const GAP = 6;

function formatLength(seconds) {
  const unit = UNITS.find(([size]) => seconds >= size);
  return unit ? `${Math.floor(seconds / unit[0])} ${unit[1]}` : "now";
}

function formatAgo(seconds) {
  const text = formatLength(Math.abs(seconds));
  if (text === "now") return "just now";
  return seconds < 0 ? `in ${text}` : `${text} ago`;
}

const FORMATTERS = {
  ago: (date) => formatAgo((Date.now() - date) / 1000),
  age: (date) => formatLength(Math.abs(Date.now() - date) / 1000),
  clock: (date) => SHORT_FORMAT.format(date),
};

function getFormatter({ time }) {
  const whole = document.documentElement.dataset.times === "whole" && time in FORMATTERS;
  return whole ? FORMATTERS.clock : FORMATTERS[time];
}

function writeTime(element) {
  const date = new Date(element.dateTime);
  if (Number.isNaN(date.valueOf())) return;
  const text = getFormatter(element.dataset)?.(date) ?? element.textContent;
  if (element.textContent !== text) element.textContent = text;
  element.title = `${element.dataset.label ?? ""} ${FULL_FORMAT.format(date)}`.trim();
  if (!element.closest("a, button, summary, label")) element.tabIndex = -1; // a tap can focus it; the Tab key passes by
}

function writeTimes(root) {
  for (const element of root.querySelectorAll("time[data-time]")) writeTime(element);
}

function writeClock() {
  const clock = document.querySelector("[data-clock]");
  if (!clock) return;
  clock.textContent = ZONE_FORMAT.format(new Date());
  clock.title = Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** Show the full timestamp beside a focused time, or beside a focused link that contains only a time. */
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
    writeTimes(document);
    writeClock();
  };
  tick();
  setInterval(tick, 30_000);
  document.addEventListener("mc:set", tick);
  document.addEventListener("mc:fresh", ({ detail }) => writeTimes(detail.root));
  document.addEventListener("focusin", showStamp);
  document.addEventListener("focusout", showStamp);
  document.addEventListener("scroll", showStamp, true);
}
