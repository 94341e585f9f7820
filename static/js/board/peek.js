// Space shows the focused ticket at a glance; j and k go on to its neighbours.

import { getTitleLink } from "./cards.js";
import { showForm } from "../site/dialogs.js";
import { showError } from "../site/forms.js";
import { describeError, fetchFragment } from "../site/http.js";

const DIALOG = "peek-dialog";

export class Peek {
  #dialog = document.getElementById(DIALOG);
  #root;
  #card = null;

  constructor(root) {
    this.#root = root;
    root.addEventListener("keydown", (event) => this.#handleSpace(event));
    this.#dialog.addEventListener("keydown", (event) => this.#handleKey(event));
    this.#dialog.addEventListener("close", () => getTitleLink(this.#findCard())?.focus());
  }

  #handleSpace(event) {
    if (event.key !== " " || !event.target.matches("[data-card] .title")) return;
    event.preventDefault();
    this.#open(event.target.closest("[data-card]"));
  }

  async #open(card) {
    if (!card) return;
    this.#card = card.id;
    try {
      const html = await fetchFragment(`/ticket/${card.dataset.card}/peek`);
      if (this.#card !== card.id) return;
      showForm(html, DIALOG);
      this.#dialog.querySelector("#peek-title a").focus();
    } catch (refusal) {
      showError(describeError(refusal));
    }
  }

  #findCard() {
    return document.getElementById(this.#card);
  }

  #handleKey(event) {
    const step = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key !== " " && !step) return;
    event.preventDefault();
    event.stopPropagation(); // the key has done its work, also where it closes the dialog
    if (!step) return this.#dialog.close();
    const cards = [...this.#root.querySelectorAll("[data-card]")];
    return this.#open(cards[cards.indexOf(this.#findCard()) + step]);
  }
}
