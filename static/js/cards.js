// What the cards and rows of the board say of themselves.

/** Every move of a ticket, [{to, move, asks}], from "todo:triage waiting:park?"; "?" marks one that must be told something. */
export function movesOf(card) {
  return (card.dataset.drops ?? "").split(" ").filter(Boolean).map((text) => {
    const [to, move] = text.split(":");
    return { to, move: move.replace("?", ""), asks: move.endsWith("?") };
  });
}

/** Column -> the move meant by dropping the ticket there: the first that leads to it. */
export function dropsOf(card) {
  return new Map(movesOf(card).reverse().map((move) => [move.to, move]));
}

/** What a move is called on its button. */
export function labelOf(card, move) {
  return card.querySelector(`[value="${move}"], [href$="/move/${move}"]`)?.textContent.trim() ?? move;
}

export function titleOf(card) {
  return card?.querySelector(".title");
}
