// Preview of a file in the page's dialog: a picture, or the first lines of a text. Links to files in comments open there too;
// without the script they lead to the file.

import { insertText, formatLink } from "./attachments.js";
import { openDialog, loadForSlot } from "../site/dialogs.js";
import { fetchFragment } from "../site/http.js";

const LINK = /^\/attachments\/\d+\/preview$/;

const findPart = (name) => document.querySelector(`#viewer [${name}]`);

async function loadPicture(url, name) {
  const image = document.createElement("img");
  image.src = url;
  image.alt = name;
  return image.decode().then(() => image, () => "This file cannot be previewed: it is of another type, or too large. Download it instead.");
}

async function loadText(url) {
  const block = document.createElement("pre");
  block.tabIndex = 0;
  block.textContent = await fetchFragment(url);
  return block;
}

/** Ask the server for the kind of a linked file, which the link itself does not show. */
async function fetchKind(url) {
  const answer = await fetch(url, { method: "HEAD" });
  return answer.headers.get("Content-Type").startsWith("image/") ? "picture" : "text";
}

async function openFile(anchor) {
  const show = anchor.dataset.show ?? (await fetchKind(anchor.href));
  const name = anchor.dataset.name ?? anchor.textContent.trim();
  findPart("id='viewer-title'").textContent = name;
  findPart("data-viewer-download").href = anchor.pathname.replace("/preview", "").replace("/attachments", "/api/v1/attachments");
  const linkButton = findPart("data-viewer-link");
  linkButton.hidden = !document.getElementById("say");
  linkButton.onclick = () => {
    document.getElementById("viewer").close();
    insertText(document.getElementById("say"), formatLink(name, anchor.pathname));
  };
  const slot = findPart("data-viewer-body");
  const content = await loadForSlot("viewer", slot, `Reading ${name}…`, () => (show === "picture" ? loadPicture(anchor.pathname, name) : loadText(anchor.pathname)));
  if (content === null) return;
  slot.replaceChildren(content);
  openDialog("viewer");
}

export function startViewer() {
  document.addEventListener("click", (event) => {
    const anchor = event.target.closest("a[href]");
    if (!anchor || !LINK.test(anchor.pathname) || anchor.origin !== location.origin || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    openFile(anchor).catch(() => location.assign(anchor.href));
  });
}
