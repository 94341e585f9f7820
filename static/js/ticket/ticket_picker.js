// A field that searches tickets: [data-picker="<own identifier>"] around an input and an empty list. Without a script the user
// types the identifier.

const DEBOUNCE_MS = 160;
const MAX_OPTIONS = 8;

class Picker {
  #ownTicket;
  #input;
  #list;
  #timer = 0;

  constructor(root) {
    this.#ownTicket = root.dataset.picker;
    this.#input = root.querySelector("input");
    this.#list = root.querySelector("[role=listbox]");
  }

  look() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#search(this.#input.value.trim()), DEBOUNCE_MS);
  }

  close() {
    clearTimeout(this.#timer);
    this.#list.hidden = true;
    this.#list.replaceChildren();
    this.#input.setAttribute("aria-expanded", "false");
    this.#input.removeAttribute("aria-activedescendant");
  }

  async #search(text) {
    if (text.length < 2) return this.close();
    const query = new URLSearchParams({ q: text.slice(0, 200), kind: "ticket", limit: MAX_OPTIONS + 1 });
    const answer = await fetch(`/api/v1/search?${query}`).catch(() => null);
    const items = answer?.ok ? (await answer.json()).items : null;
    if (text !== this.#input.value.trim() || document.activeElement !== this.#input) return;
    if (items === null) this.#showNote("Search is unavailable. Enter the full identifier.");
    else if (items.some(({ ticket }) => isIdentifierOf(text, ticket))) this.close(); // the only result is already typed
    else this.#show(items.filter(({ ticket }) => ticket !== this.#ownTicket).slice(0, MAX_OPTIONS));
  }

  #show(items) {
    this.#list.replaceChildren(...items.map((item, place) => buildOption(item, `${this.#list.id}-${place}`)));
    if (!items.length) this.#list.append(buildNote("No matching tickets."));
    this.#list.hidden = false;
    this.#input.setAttribute("aria-expanded", "true");
    this.#select(-1);
  }

  #showNote(text) {
    this.#show([]);
    this.#list.replaceChildren(buildNote(text));
  }

  #select(place) {
    const options = [...this.#list.querySelectorAll("[role=option]")];
    for (const [at, element] of options.entries()) element.setAttribute("aria-selected", String(at === place));
    const option = options[place];
    if (!option) return this.#input.removeAttribute("aria-activedescendant");
    this.#input.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  }

  take(option) {
    this.#input.value = option.dataset.ticket;
    this.#input.focus();
    this.close();
  }

  walk(event) {
    if (this.#list.hidden) return;
    const options = [...this.#list.querySelectorAll("[role=option]")];
    const at = options.findIndex((element) => element.getAttribute("aria-selected") === "true");
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.#select(Math.max(0, Math.min(at + step, options.length - 1)));
    else if (event.key === "Enter" && at >= 0) this.take(options[at]);
    else if (event.key === "Escape") this.close();
    else return;
    event.preventDefault();
  }
}

function isIdentifierOf(text, ticket) {
  return [ticket, ticket.replace(/^MC-/, "")].includes(text.toUpperCase());
}

function buildOption({ ticket, title, status }, id) {
  const item = document.createElement("li");
  item.id = id;
  item.setAttribute("role", "option");
  item.dataset.ticket = ticket;
  const name = document.createElement("span");
  name.className = "mono";
  name.textContent = ticket;
  const state = document.createElement("span");
  state.className = "small muted";
  state.textContent = status === "todo" ? "to do" : status.replace("_", " ");
  item.append(name, ` ${title} `, state);
  return item;
}

function buildNote(text) {
  const item = document.createElement("li");
  item.className = "empty";
  item.textContent = text;
  return item;
}

const pickers = new WeakMap();

function findPicker(element) {
  const root = element.closest?.("[data-picker]");
  if (root && !pickers.has(root)) pickers.set(root, new Picker(root));
  return pickers.get(root);
}

export function startTicketPickers() {
  document.addEventListener("input", ({ target }) => findPicker(target)?.look());
  document.addEventListener("focusout", ({ target }) => findPicker(target)?.close());
  document.addEventListener("keydown", (event) => findPicker(event.target)?.walk(event), true);
  // The field keeps the focus during a press on the list, which would close otherwise.
  document.addEventListener("mousedown", (event) => event.target.closest("[data-picker] [role=option]") && event.preventDefault());
  document.addEventListener("click", ({ target }) => {
    const option = target.closest("[data-picker] [role=option]");
    if (option) findPicker(option).take(option);
  });
}
