// Theme, density, times, letter keys and the folded rail: remembered in this browser, applied before the first paint by theme_boot.js.

const root = document.documentElement;

function saveSetting(name, value) {
  if (value) root.dataset[name] = value;
  else delete root.dataset[name];
  try {
    if (value) localStorage.setItem(`mc.${name}`, value);
    else localStorage.removeItem(`mc.${name}`);
  } catch {
    // Storage is refused: the choice holds until the page is left.
  }
}

function showSettings() {
  for (const button of document.querySelectorAll("[data-set]")) {
    button.setAttribute("aria-pressed", String((root.dataset[button.dataset.set] ?? "") === button.dataset.value));
  }
}

export function startSettings() {
  showSettings();
  document.addEventListener("click", ({ target }) => {
    const choice = target.closest("[data-set]");
    if (choice) saveSetting(choice.dataset.set, choice.dataset.value);
    if (target.closest("[data-toggle-rail]")) saveSetting("rail", root.dataset.rail ? "" : "slim");
    if (choice) showSettings();
    if (choice) document.dispatchEvent(new CustomEvent("mc:set"));
  });
}
