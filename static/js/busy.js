// What is on its way: the control or the part that somebody waits for says so, and its look follows from that (css/waiting.css).

/** Do something while `element`, if there is one, is marked as busy. */
export async function busy(element, doing) {
  element?.setAttribute("aria-busy", "true");
  try {
    return await doing();
  } finally {
    element?.removeAttribute("aria-busy");
  }
}

/** The words for what is being read. */
export function loading(words) {
  const line = document.getElementById("loading").content.firstElementChild.cloneNode(true);
  line.lastElementChild.textContent = words;
  return line;
}
