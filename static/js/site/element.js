/** A new element with these properties and children: text among them stays text. */
export function createElement(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}
