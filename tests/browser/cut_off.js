// What of the page's text cannot be read: cut by a box that does not scroll, outside the window, or spilled over what stands beside it.
() => {
  const width = document.documentElement.clientWidth;
  const found = new Set();
  const style = (element) => getComputedStyle(element);
  const name = (element) => element.localName + (element.id && `#${element.id}`) + [...element.classList].map((each) => `.${each}`).join("");
  const isShown = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !element.closest(".visually-hidden, .stacks thead, option, script, style, template, noscript, svg, datalist");

  /** Whether a box around the text scrolls, or ends it with an ellipsis on purpose. */
  const mayEnd = ({ overflowX, overflowY, textOverflow, webkitLineClamp }) => textOverflow === "ellipsis" || webkitLineClamp !== "none" || /auto|scroll/.test(overflowX + overflowY);

  function look(node, element) {
    const range = document.createRange();
    range.selectNodeContents(node);
    const lines = [...range.getClientRects()].filter((line) => line.width > 1);
    const said = `${name(element)} “${node.textContent.trim().slice(0, 30)}”`;
    for (let box = element; box !== document.body; box = box.parentElement) {
      if (mayEnd(style(box))) return;
      const edge = box.getBoundingClientRect();
      const clips = /hidden|clip/.test(style(box).overflowX + style(box).overflowY);
      if (clips && lines.some((line) => line.right > edge.right + 1 || line.left < edge.left - 1 || line.bottom > edge.bottom + 3)) found.add(`${said} is cut by ${name(box)}`);
    }
    if (lines.some((line) => line.right > width + 1 || line.left < -1)) found.add(`${said} stands outside`);
  }

  /** The width of a select that shows its choice whole: each version of a browser has another idea of scrollWidth. */
  function widthOfChoice(select) {
    const copy = select.cloneNode();
    copy.append(...[...select.selectedOptions].map((option) => option.cloneNode(true)));
    copy.style.cssText = "position: absolute; visibility: hidden; width: max-content; max-width: none";
    select.after(copy);
    const { offsetWidth } = copy;
    copy.remove();
    return offsetWidth;
  }

  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    if (node.textContent.trim() && isShown(node.parentElement)) look(node, node.parentElement);
  }
  for (const select of document.querySelectorAll("select")) {
    const lack = isShown(select) ? widthOfChoice(select) - select.offsetWidth : 0;
    if (lack > 1) found.add(`${name(select)} is ${lack} too narrow for its choice`);
  }
  for (const element of document.querySelectorAll("body :not(select)")) {
    const { overflowX, display } = style(element);
    const spills = display !== "inline" && overflowX === "visible" && element.clientWidth > 1 && element.scrollWidth > element.clientWidth + 2;
    if (spills && isShown(element)) found.add(`${name(element)} spills over by ${element.scrollWidth - element.clientWidth}`);
  }
  if (document.documentElement.scrollWidth > width) found.add(`the page is ${document.documentElement.scrollWidth} wide`);
  return [...found];
}
