// The agent's text as it is being written: deltas are appended, and replaced by the whole block when it arrives.

const COMPLETE_EVENTS = new Set(["agent.text", "agent.thinking", "agent.tool_call"]);

export class Typing {
  #root;
  #blocks = new Map(); // block -> {node, length}
  #done = new Set();

  constructor(root) {
    this.#root = root;
  }

  /** Handle an event. Return true when it was only typing, so that nothing needs to be fetched for it. */
  take({ event_type: type, payload }) {
    if (type === "agent.delta") return this.#append(payload);
    if (COMPLETE_EVENTS.has(type)) this.#done.add(payload.block ?? payload.call);
    if (type === "run_started") this.#root.hidden = false;
    if (type === "run_ended") this.#end();
    return false;
  }

  /** Remove the blocks that the refreshed conversation shows as complete. */
  settle() {
    for (const block of this.#done) this.#drop(block);
    this.#done.clear();
  }

  #append({ block, kind, offset, text }) {
    if (kind === "input") return true;
    const entry = this.#blocks.get(block) ?? this.#begin(block, kind);
    if (offset > entry.length) entry.node.append("… ");
    const newText = text.slice(Math.max(0, entry.length - offset));
    entry.node.append(newText);
    entry.length = Math.max(entry.length, offset + text.length);
    return true;
  }

  #begin(block, kind) {
    const node = document.createElement("p");
    node.className = "block preformatted";
    node.dataset.kind = kind;
    this.#root.hidden = false;
    this.#root.insertBefore(node, this.#root.querySelector(".working-indicator"));
    const entry = { node, length: 0 };
    this.#blocks.set(block, entry);
    return entry;
  }

  #drop(block) {
    this.#blocks.get(block)?.node.remove();
    this.#blocks.delete(block);
  }

  #end() {
    for (const block of [...this.#blocks.keys()]) this.#drop(block);
    this.#root.hidden = true;
  }
}
