// The wall of running agents: new lines arrive over the stream that all tabs share; agents that start or end refresh the wall.

import { createElement } from "../site/element.js";
import { listShownTickets } from "../site/shared_stream.js";

const MAX_LINES = 8;
const MAX_LINE_CHARACTERS = 200;

function readLine({ event_type: type, payload }) {
  const text = { "agent.tool_call": payload.title, "agent.text": payload.text, "agent.progress": payload.text }[type];
  return text?.trim().split("\n", 1)[0].slice(0, MAX_LINE_CHARACTERS);
}

function appendLine(list, text) {
  list.querySelector(".subtle")?.remove();
  list.append(createElement("li", { className: "truncate", textContent: text }));
  for (const line of [...list.children].slice(0, -MAX_LINES)) line.remove();
}

export function startAgentWall(wall, stream) {
  stream.addEventListener("news", ({ detail }) => {
    const list = detail.ticket && wall.querySelector(`[data-agent="${CSS.escape(detail.ticket)}"] [data-lines]`);
    const text = list && readLine(detail);
    if (text) appendLine(list, text);
  });
  document.addEventListener("mc:sent", ({ detail: { form } }) => {
    if (wall.contains(form)) appendLine(form.closest("[data-agent]").querySelector("[data-lines]"), `You: ${form.elements.body.value}`);
  });
  document.addEventListener("mc:fresh", () => stream.follow(listShownTickets()));
}
