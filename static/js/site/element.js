/** Create an element with these properties and children. Strings become text nodes. */
export function createElement(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Open every disclosure around an element, so that it can be seen and focused. */
export function reveal(element) {
  for (let details = element.closest("details"); details; details = details.parentElement.closest("details")) details.open = true;
}
