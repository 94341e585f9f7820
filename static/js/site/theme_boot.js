// Runs before the first paint, so that a chosen theme, density and the like never flash. A classic script on purpose.
(() => {
  const root = document.documentElement;
  root.dataset.js = "";
  for (const name of ["theme", "density", "rail", "times", "letters"]) {
    try {
      const value = localStorage.getItem(`mc.${name}`);
      if (value) root.dataset[name] = value;
    } catch {
      return; // Storage is refused: the system's own choice holds.
    }
  }
})();
