// Applies theme, density and the like before the first paint, so that nothing flashes. A classic script, since modules run later.
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
