// Reading the data attributes of the board's cards and rows.

/**
 * Parse a ticket's moves, [{to, move, value, asks}], from "todo:triage waiting:park? done:approve:merge"; "?" marks a move with
 * a form. The value is that of its button: the move, and the way to approve.
 */
export function listMoves(card) {
  return (card.dataset.drops ?? "").split(" ").filter(Boolean).map((text) => {
    const [to, ...parts] = text.replace("?", "").split(":");
    return { to, move: parts[0], value: parts.join(":"), asks: text.endsWith("?") };
  });
}

/** Map each column to the move that a drop there makes: the first that leads to it. */
export function mapDropTargets(card) {
  return new Map(listMoves(card).reverse().map((move) => [move.to, move]));
}

export function getTitleLink(card) {
  return card?.querySelector(".title");
}
