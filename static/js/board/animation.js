// Cause and effect: what changes its place on the board is seen to do so, and nothing jumps.

const TIMING = { duration: 160, easing: "ease-out" };
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

function measureCards(root) {
  const boxes = [...root.querySelectorAll("[data-card]")].map((card) => [card.id, card.getBoundingClientRect()]);
  return new Map(boxes.filter(([, box]) => box.bottom > 0 && box.top < innerHeight));
}

/** Let the cards in `root` glide from where they are to where `change` puts them; new ones appear. */
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
