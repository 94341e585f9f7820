// Times in the viewer's zone: relative in the page, whole on hover, fresh every half minute.

const UNITS = [[31_536_000, "y"], [2_592_000, "mo"], [86_400, "d"], [3_600, "h"], [60, "min"]];
const STAMP = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const SHORT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", timeZoneName: "short" });

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

function write(element) {
  const date = new Date(element.dateTime);
  if (Number.isNaN(date.valueOf())) return;
  const text = WORDINGS[element.dataset.time]?.(date) ?? element.textContent;
  if (element.textContent !== text) element.textContent = text;
  element.title = `${element.dataset.label ?? ""} ${STAMP.format(date)}`.trim();
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

export function startTimes() {
  const tick = () => {
    writeAll(document);
    writeClock();
  };
  tick();
  setInterval(tick, 30_000);
  document.addEventListener("mc:fresh", ({ detail }) => writeAll(detail.root));
}
