// Code can be copied: every block gets a button with a word on it.

function offer(block) {
  if (block.parentElement.classList.contains("copyable")) return;
  const frame = document.createElement("div");
  frame.className = "copyable";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button copy";
  button.textContent = "Copy";
  block.replaceWith(frame);
  frame.append(block, button);
}

async function copy(button) {
  await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function offerAll(root) {
  for (const block of root.querySelectorAll(".prose pre, pre[data-copy]")) {
    if (block.scrollWidth > block.clientWidth) block.tabIndex = 0; // so that the keyboard can scroll it
    if (navigator.clipboard) offer(block);
  }
}

export function startCopying() {
  offerAll(document);
  document.addEventListener("mc:fresh", ({ detail }) => offerAll(detail.root));
  document.addEventListener("click", ({ target }) => target.matches?.(".copy") && copy(target));
}
