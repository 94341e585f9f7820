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
