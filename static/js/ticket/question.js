// Where a page takes a decision: the card of the open question, and the review below the changes.

/** Scroll to the first open question and focus the field for the answer. Return whether the page shows one. */
export function focusQuestion() {
  const card = document.querySelector(".question[data-open]");
  card?.scrollIntoView({ block: "center" });
  card?.querySelector("textarea, [name=message]")?.focus({ preventScroll: true });
  return Boolean(card);
}

/** Scroll to the review below the changes, which has the comments on lines, and focus it. Return whether the page has one. */
export function focusReview() {
  const field = document.querySelector("[data-remarks] textarea");
  field?.scrollIntoView({ block: "center" });
  field?.focus({ preventScroll: true });
  return Boolean(field);
}
