// Every block of code gets a Copy button.

function addButton(block) {
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

async function copyText(button) {
  await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function addButtons(root) {
  for (const block of root.querySelectorAll(".prose pre, pre[data-copy]")) {
    if (block.scrollWidth > block.clientWidth) block.tabIndex = 0; // so that the keyboard can scroll it
    if (navigator.clipboard) addButton(block);
  }
}

export function startCopyButtons() {
  addButtons(document);
  document.addEventListener("mc:fresh", ({ detail }) => addButtons(detail.root));
  document.addEventListener("click", ({ target }) => target.matches?.(".copy") && copyText(target));
}
