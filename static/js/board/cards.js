// What the cards and rows of the board say of themselves.

/** Every move of a ticket, [{to, move, asks}], from "todo:triage waiting:park?"; "?" marks one that must be told something. */
export function listMoves(card) {
  return (card.dataset.drops ?? "").split(" ").filter(Boolean).map((text) => {
    const [to, move] = text.split(":");
    return { to, move: move.replace("?", ""), asks: move.endsWith("?") };
  });
}

/** Column -> the move meant by dropping the ticket there: the first that leads to it. */
export function mapDropTargets(card) {
  return new Map(listMoves(card).reverse().map((move) => [move.to, move]));
}

/** What a move is called on its button. */
export function getMoveLabel(card, move) {
  return card.querySelector(`[value="${move}"], [href$="/move/${move}"]`)?.textContent.trim() ?? move;
}

export function getTitleLink(card) {
  return card?.querySelector(".title");
}
