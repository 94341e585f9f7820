// What is on its way: the control or the part that somebody waits for says so, and its look follows from that (css/site/loading.css).

/** Do something while `element`, if there is one, is marked as busy. */
export async function markBusy(element, action) {
  element?.setAttribute("aria-busy", "true");
  try {
    return await action();
  } finally {
    element?.removeAttribute("aria-busy");
  }
}

/** The words for what is being read. */
export function buildLoadingLine(text) {
  const line = document.getElementById("loading").content.firstElementChild.cloneNode(true);
  line.lastElementChild.textContent = text;
  return line;
}

const REASONS = new WeakMap();

/** Disable a button for one reason, or take that reason back; it is enabled while there is none. */
export function setDisabled(button, reason, isDisabled) {
  const reasons = REASONS.get(button) ?? new Set(button.disabled ? ["page"] : []);
  REASONS.set(button, reasons);
  if (isDisabled) reasons.add(reason);
  else reasons.delete(reason);
  button.disabled = reasons.size > 0;
}
