// A file shown large in the page's dialog: a picture, or the first lines of a text. Links to files in what people wrote open
// there too; with a script that fails they lead to the file.

import { insert, linkTo } from "./files.js";
import { openDialog, readFor } from "./floats.js";
import { fetchFragment } from "./page.js";

const LINK = /^\/attachments\/\d+\/preview$/;

const part = (name) => document.querySelector(`#viewer [${name}]`);

async function picture(url, name) {
  const image = document.createElement("img");
  image.src = url;
  image.alt = name;
  return image.decode().then(() => image, () => "This cannot be shown here: it is of another kind, or too large. Download it.");
}

async function text(url) {
  const block = document.createElement("pre");
  block.tabIndex = 0;
  block.textContent = await fetchFragment(url);
  return block;
}

/** A link that somebody wrote does not say what it leads to: the server does. */
async function kindOf(url) {
  const answer = await fetch(url, { method: "HEAD" });
  return answer.headers.get("Content-Type").startsWith("image/") ? "picture" : "text";
}

async function open(anchor) {
  const show = anchor.dataset.show ?? (await kindOf(anchor.href));
  const name = anchor.dataset.name ?? anchor.textContent.trim();
  part("id='viewer-title'").textContent = name;
  part("data-viewer-download").href = anchor.pathname.replace("/preview", "").replace("/attachments", "/api/v1/attachments");
  const link = part("data-viewer-link");
  link.hidden = !document.getElementById("say");
  link.onclick = () => {
    document.getElementById("viewer").close();
    insert(document.getElementById("say"), linkTo(name, anchor.pathname));
  };
  const slot = part("data-viewer-body");
  const shown = await readFor("viewer", slot, `Reading ${name}…`, () => (show === "picture" ? picture(anchor.pathname, name) : text(anchor.pathname)));
  if (shown === null) return;
  slot.replaceChildren(shown);
  openDialog("viewer");
}

export function startViewer() {
  document.addEventListener("click", (event) => {
    const anchor = event.target.closest("a[href]");
    if (!anchor || !LINK.test(anchor.pathname) || anchor.origin !== location.origin || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    open(anchor).catch(() => location.assign(anchor.href));
  });
}
