// Animation of cards that change their place on the board.

const TIMING = { duration: 160, easing: "ease-out" };
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

function measureCards(root) {
  const boxes = [...root.querySelectorAll("[data-card]")].map((card) => [card.id, card.getBoundingClientRect()]);
  return new Map(boxes.filter(([, box]) => box.bottom > 0 && box.top < innerHeight));
}

/** Animate the cards in `root` from their places to those after `change`. New cards fade in. */
export async function animateMoves(root, change) {
  const oldBoxes = reducedMotion.matches ? null : measureCards(root);
  await change();
  if (!oldBoxes?.size) return;
  for (const [id, newBox] of measureCards(root)) {
    const card = document.getElementById(id);
    const oldBox = oldBoxes.get(id);
    if (!oldBox) card.animate([{ opacity: 0 }, { opacity: 1 }], TIMING);
    else if (oldBox.top !== newBox.top) card.animate([{ translate: `0 ${oldBox.top - newBox.top}px` }, { translate: "0 0" }], TIMING);
  }
}
