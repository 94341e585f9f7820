// The open question of a ticket's page: its card, with the field for the answer.

/** Scroll to the first open question and focus the field for the answer. Return whether the page shows one. */
export function focusQuestion() {
  const card = document.querySelector(".question[data-open]");
  card?.scrollIntoView({ block: "center" });
  card?.querySelector("textarea, [name=message]")?.focus({ preventScroll: true });
  return Boolean(card);
}
