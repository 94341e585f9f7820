// The review queue: its keys, and the way to the next ticket after a decision.

import { leaveFor, showError } from "./js/site/forms.js";
import { bindKeys } from "./js/site/shortcuts.js";
import { focusQuestion } from "./js/ticket/question.js";
import { startEditing } from "./js/ticket/inline_edit.js";
import { startViewer } from "./js/ticket/file_viewer.js";

const FORWARD_MOVES = ["approve", "unblock", "answer"];
const NO_UNDO = "There is nothing to undo. Answers, approvals and change requests reach others at once; other decisions can be undone for ten seconds.";
const queue = document.querySelector("[data-queue]"); // named after its ticket; nothing waits where that is empty
const bar = document.getElementById("queue-bar");

function follow(rel) {
  bar?.querySelector(`[rel=${rel}]`)?.click();
}

/** Find the control of a move, which is a button, or a link where the move needs input. */
function findMove(name) {
  return [...document.querySelectorAll("#queue-bar .moves :is(button, a)")].find((control) => (control.dataset.move ?? control.value).split(":")[0] === name);
}

/** Approve or unblock, or go to the question. */
function decide() {
  if (!focusQuestion()) FORWARD_MOVES.map(findMove).find(Boolean)?.click();
}

function undo() {
  const button = document.querySelector(".flashes form[action$='/undo'] button");
  if (button) button.click();
  else showError(NO_UNDO);
}

/** Let a held key decide once. */
function once(action) {
  return (event) => event.repeat || action();
}

/** Return the page that follows a form: the next ticket after a decision, the ticket itself after an undo. */
function findPage(form) {
  const [, identifier, action] = /^\/ticket\/([^/]+)\/(move|answer|review|undo|runs)\b/.exec(form.getAttribute("action")) ?? [];
  if (action === "undo") return `/review?at=${identifier}`;
  return identifier === queue.dataset.queue ? `/review?after=${identifier}&position=${queue.dataset.position}` : null;
}

/** Show the title in the bar while the heading is out of view. */
function showTitleWhenScrolled() {
  const options = { rootMargin: `-${document.querySelector(".topbar").offsetHeight + bar.offsetHeight}px 0px 0px 0px` };
  new IntersectionObserver(([entry]) => bar.toggleAttribute("data-scrolled", !entry.isIntersecting), options).observe(queue.querySelector("h1"));
}

document.addEventListener("mc:sent", (event) => {
  const { form, notices } = event.detail;
  const page = findPage(form);
  if (!page) return;
  event.preventDefault();
  leaveFor(page, notices);
});
bindKeys({ a: once(decide), c: once(() => findMove("request_changes")?.click()), n: once(() => follow("next")), p: once(() => follow("prev")), u: once(undo) });
if (bar) {
  showTitleWhenScrolled();
  startEditing();
  startViewer();
}
