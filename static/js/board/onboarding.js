// The first steps are replaced by the board once there is a ticket, but not while a form is in use.

export function reloadOnFirstTicket(stream) {
  stream.addEventListener("news", ({ detail }) => {
    if (detail.event_type !== "ticket_created") return;
    const dialog = document.querySelector("dialog[open]");
    if (dialog) dialog.addEventListener("close", () => location.reload(), { once: true });
    else location.reload();
  });
}
