// The order of To do by hand: a card dragged within its column, or Alt with an arrow key.

import { showError } from "../site/forms.js";
import { describeError, postForm } from "../site/http.js";

/** Find the place of a card among the cards of its project, as the page shows them. */
export function findPlace(card) {
  const findNeighbour = (step) => {
    let other = card[step];
    while (other && other.dataset.project !== card.dataset.project) other = other[step];
    return other?.dataset.card;
  };
  const [after, before] = [findNeighbour("previousElementSibling"), findNeighbour("nextElementSibling")];
  if (after) return { after };
  return before ? { before } : { to: "top" };
}

/** Send the place of a ticket to the server. Returns whether it was accepted. */
export async function placeTicket(identifier, place) {
  try {
    await postForm(`/ticket/${identifier}/place`, place);
    return true;
  } catch (refusal) {
    showError(describeError(refusal));
    return false;
  }
}
