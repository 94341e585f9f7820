// The line with ticket, state and decision, shown while the header of a ticket is out of view.

export function startTicketBar() {
  const bar = document.querySelector("[data-bar]");
  const topbar = document.querySelector(".topbar");
  const options = { rootMargin: `-${topbar.offsetHeight}px 0px 0px 0px` };
  new IntersectionObserver(([entry]) => (bar.hidden = entry.isIntersecting), options).observe(document.querySelector("#ticket-head .title-row"));
}
