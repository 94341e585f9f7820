// Theme, density, times, letter shortcuts and the collapsed sidebar: stored in this browser; theme_boot.js applies them before the first paint.

const root = document.documentElement;

function saveSetting(name, value) {
  if (value) root.dataset[name] = value;
  else delete root.dataset[name];
  try {
    if (value) localStorage.setItem(`mc.${name}`, value);
    else localStorage.removeItem(`mc.${name}`);
  } catch {
    // Without storage the choice lasts as long as the page.
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
