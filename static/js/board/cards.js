// Reading the data attributes of the board's cards and rows.

/** Parse a ticket's moves, [{to, move, asks}], from "todo:triage waiting:park?"; "?" marks a move with a form. */
export function listMoves(card) {
  return (card.dataset.drops ?? "").split(" ").filter(Boolean).map((text) => {
    const [to, move] = text.split(":");
    return { to, move: move.replace("?", ""), asks: move.endsWith("?") };
  });
}

/** Map each column to the move that a drop there makes: the first that leads to it. */
export function mapDropTargets(card) {
  return new Map(listMoves(card).reverse().map((move) => [move.to, move]));
}

/** The label of a move's button. */
export function getMoveLabel(card, move) {
  return card.querySelector(`[value="${move}"], [href$="/move/${move}"], [data-move="${move}"]`)?.textContent.trim() ?? move;
}

export function getTitleLink(card) {
  return card?.querySelector(".title");
}
