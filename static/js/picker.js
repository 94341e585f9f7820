// A field that finds tickets: [data-picker="<own identifier>"] around an input and an empty list. Without a script one
// writes the identifier.

const QUIET = 160;
const SHOWN = 8;

class Picker {
  #own;
  #input;
  #list;
  #timer = 0;

  constructor(root) {
    this.#own = root.dataset.picker;
    this.#input = root.querySelector("input");
    this.#list = root.querySelector("[role=listbox]");
  }

  look() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#find(this.#input.value.trim()), QUIET);
  }

  close() {
    clearTimeout(this.#timer);
    this.#list.hidden = true;
    this.#list.replaceChildren();
    this.#input.setAttribute("aria-expanded", "false");
    this.#input.removeAttribute("aria-activedescendant");
  }

  async #find(words) {
    if (words.length < 2) return this.close();
    const query = new URLSearchParams({ q: words.slice(0, 200), kind: "ticket", limit: SHOWN + 1 });
    const answer = await fetch(`/api/v1/search?${query}`).catch(() => null);
    const items = answer?.ok ? (await answer.json()).items : null;
    if (words !== this.#input.value.trim() || document.activeElement !== this.#input) return;
    if (items === null) this.#tell("Tickets cannot be looked up now. Write the whole identifier.");
    else if (items.some(({ ticket }) => names(words, ticket))) this.close(); // there is nothing left to choose
    else this.#show(items.filter(({ ticket }) => ticket !== this.#own).slice(0, SHOWN));
  }

  #show(items) {
    this.#list.replaceChildren(...items.map((item, place) => option(item, `${this.#list.id}-${place}`)));
    if (!items.length) this.#list.append(note("No ticket has these words."));
    this.#list.hidden = false;
    this.#input.setAttribute("aria-expanded", "true");
    this.#choose(-1);
  }

  #tell(words) {
    this.#show([]);
    this.#list.replaceChildren(note(words));
  }

  #choose(place) {
    const options = [...this.#list.querySelectorAll("[role=option]")];
    for (const [at, each] of options.entries()) each.setAttribute("aria-selected", String(at === place));
    const chosen = options[place];
    if (!chosen) return this.#input.removeAttribute("aria-activedescendant");
    this.#input.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  }

  take(chosen) {
    this.#input.value = chosen.dataset.ticket;
    this.#input.focus();
    this.close();
  }

  walk(event) {
    if (this.#list.hidden) return;
    const options = [...this.#list.querySelectorAll("[role=option]")];
    const at = options.findIndex((each) => each.getAttribute("aria-selected") === "true");
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.#choose(Math.max(0, Math.min(at + step, options.length - 1)));
    else if (event.key === "Enter" && at >= 0) this.take(options[at]);
    else if (event.key === "Escape") this.close();
    else return;
    event.preventDefault();
  }
}

function names(words, ticket) {
  return [ticket, ticket.replace(/^MC-/, "")].includes(words.toUpperCase());
}

function option({ ticket, title, status }, id) {
  const item = document.createElement("li");
  item.id = id;
  item.setAttribute("role", "option");
  item.dataset.ticket = ticket;
  const name = document.createElement("span");
  name.className = "mono";
  name.textContent = ticket;
  const state = document.createElement("span");
  state.className = "small quiet";
  state.textContent = status === "todo" ? "to do" : status.replace("_", " ");
  item.append(name, ` ${title} `, state);
  return item;
}

function note(words) {
  const item = document.createElement("li");
  item.className = "nothing";
  item.textContent = words;
  return item;
}

const known = new WeakMap();

function pickerAt(element) {
  const root = element.closest?.("[data-picker]");
  if (root && !known.has(root)) known.set(root, new Picker(root));
  return known.get(root);
}

export function startPicking() {
  document.addEventListener("input", ({ target }) => pickerAt(target)?.look());
  document.addEventListener("focusout", ({ target }) => pickerAt(target)?.close());
  document.addEventListener("keydown", (event) => pickerAt(event.target)?.walk(event), true);
  // The field keeps the focus while one of the list is pressed, so that the list is still there to be pressed.
  document.addEventListener("mousedown", (event) => event.target.closest("[data-picker] [role=option]") && event.preventDefault());
  document.addEventListener("click", ({ target }) => {
    const chosen = target.closest("[data-picker] [role=option]");
    if (chosen) pickerAt(chosen).take(chosen);
  });
}
