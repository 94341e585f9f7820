// What to do first gives way to the board as soon as there is a ticket, but not under somebody's hands.

export function reloadOnFirstTicket(stream) {
  stream.addEventListener("news", ({ detail }) => {
    if (detail.event_type !== "ticket_created") return;
    const dialog = document.querySelector("dialog[open]");
    if (dialog) dialog.addEventListener("close", () => location.reload(), { once: true });
    else location.reload();
  });
}
