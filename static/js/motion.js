// Cause and effect: what changes its place on the board is seen to do so, and nothing jumps.

const QUICK = { duration: 160, easing: "ease-out" };
const still = matchMedia("(prefers-reduced-motion: reduce)");

function placesIn(root) {
  const seen = [...root.querySelectorAll("[data-card]")].map((card) => [card.id, card.getBoundingClientRect()]);
  return new Map(seen.filter(([, box]) => box.bottom > 0 && box.top < innerHeight));
}

/** Let the cards in `root` glide from where they are to where `change` puts them; new ones appear. */
export async function glide(root, change) {
  const before = still.matches ? null : placesIn(root);
  await change();
  if (!before?.size) return;
  for (const [id, now] of placesIn(root)) {
    const card = document.getElementById(id);
    const was = before.get(id);
    if (!was) card.animate([{ opacity: 0 }, { opacity: 1 }], QUICK);
    else if (was.top !== now.top) card.animate([{ translate: `0 ${was.top - now.top}px` }, { translate: "0 0" }], QUICK);
  }
}
