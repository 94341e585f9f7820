// Links to a line of a change, /ticket/MC-1?tab=changes#line=src/a.py:10: the file is opened, and the line scrolled to and marked.

const TARGET = "line-target";

function parseHash() {
  const match = /^#line=(.+?)(?::(\d+))?$/.exec(location.hash);
  return match && { path: decodeURIComponent(match[1]), line: match[2] };
}

function showLine() {
  const place = parseHash();
  const file = place && document.querySelector(`[data-file="${CSS.escape(place.path)}"]`);
  if (!file) return;
  file.open = true;
  document.querySelector(`.${TARGET}`)?.classList.remove(TARGET);
  const row = place.line && file.querySelector(`[data-remark="${place.line}"]`)?.closest("tr");
  row?.classList.add(TARGET);
  (row || file).scrollIntoView({ block: "center" });
}

export function startLineLinks() {
  addEventListener("hashchange", showLine);
  showLine();
}
