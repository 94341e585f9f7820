// Loading states: a control or part in progress has aria-busy, which css/site/loading.css styles.

/** Run an action with `element`, if there is one, marked as busy. */
export async function markBusy(element, action) {
  element?.setAttribute("aria-busy", "true");
  try {
    return await action();
  } finally {
    element?.removeAttribute("aria-busy");
  }
}

/** Build a line that says that something is being loaded. */
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
