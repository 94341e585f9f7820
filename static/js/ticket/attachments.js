// Attachments: chosen, dropped anywhere on the page, or pasted into a text. Each is uploaded by itself, with its progress.
//   form[data-upload="<ticket>"]   the upload form; data-limit: bytes that one file may have
//   [data-uploads]                 list of uploads in progress
//   [data-takes-files]             a text field that gets a link to each file dropped or pasted into it

import { showError } from "../site/forms.js";
import { fragments } from "../site/shared_stream.js";
import { RefusedError, describeError, readMeta } from "../site/http.js";

const findForm = () => document.querySelector("form[data-upload]");
const formatSize = (count) => (count < 1 << 20 ? `${Math.max(1, Math.round(count / 1024))} KB` : `${(count / (1 << 20)).toFixed(1).replace(".0", "")} MB`);

/** Upload one file. Resolves to the stored attachment. Throws a RefusedError. */
function sendFile(file, onProgress) {
  const { upload: ticket, limit } = findForm().dataset;
  if (file.size > Number(limit)) throw new RefusedError(`${file.name} is ${formatSize(file.size)}; the limit is ${formatSize(Number(limit))} per file.`);
  if (!file.size) throw new RefusedError(`${file.name} is empty, or a folder.`);
  const data = new FormData();
  data.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/v1/tickets/${ticket}/attachments`);
    request.setRequestHeader("X-CSRF-Token", readMeta("csrf"));
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded / total);
    request.onload = () => (request.status === 201 ? resolve(request.response) : reject(new RefusedError(`${file.name}: ${request.response?.message ?? `the server refused it (${request.status}).`}`)));
    request.onerror = () => reject(new RefusedError(`${file.name} was not uploaded: Mission Control is unreachable, or closed the connection because the file is too large. Try again.`));
    request.send(data);
  });
}

/** Upload one file and show its progress and result in the list. */
async function sendAndRefresh(file, onProgress = () => {}) {
  try {
    return await sendFile(file, onProgress);
  } finally {
    fragments.refresh(document.getElementById("ticket-side"));
  }
}

/** Upload files one after the other. A refused one stays listed until it is dismissed. */
async function sendAll(files) {
  for (const file of files) {
    const progressLine = addLine(file.name);
    try {
      await sendAndRefresh(file, (share) => (progressLine.querySelector("progress").value = share));
      progressLine.remove();
    } catch (refusal) {
      showRefusal(progressLine, describeError(refusal));
    }
  }
}

const cloneTemplate = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

function addLine(name) {
  const progressLine = cloneTemplate("uploading");
  progressLine.querySelector("[data-name]").textContent = name;
  progressLine.querySelector("progress").setAttribute("aria-label", `Attaching ${name}`);
  document.querySelector("[data-uploads]").append(progressLine);
  document.getElementById("side-toggle").checked = true; // open the collapsed details
  progressLine.scrollIntoView({ block: "nearest" });
  return progressLine;
}

function showRefusal(progressLine, message) {
  const refusalLine = cloneTemplate("upload-refused");
  refusalLine.querySelector("p").textContent = message;
  refusalLine.querySelector("[data-away]").addEventListener("click", () => refusalLine.remove());
  progressLine.replaceWith(refusalLine);
}

// Text fields

/** Insert a placeholder, which becomes a link when the upload is complete. */
async function insertLinks(area, files) {
  for (const file of files) {
    const mark = `[Attaching ${file.name}…]`;
    insertText(area, mark);
    const attachment = await sendAndRefresh(file).catch((refusal) => showFormError(area, describeError(refusal)));
    replaceMark(area, mark, attachment ? formatFileLink(attachment) : "");
  }
}

function formatFileLink({ id, name, media_type: type }) {
  return formatLink(name, /^(image|text)\//.test(type) ? `/attachments/${id}/preview` : `/api/v1/attachments/${id}`);
}

export function formatLink(name, place) {
  return `[${name.replace(/[[\]\\]/g, "")}](${place})`;
}

export function insertText(area, text) {
  const before = area.value.slice(0, area.selectionStart);
  area.focus();
  area.setRangeText((before && !/\s$/.test(before) ? " " : "") + text, area.selectionStart, area.selectionEnd, "end");
  area.dispatchEvent(new Event("input", { bubbles: true }));
}

function replaceMark(area, mark, text) {
  const at = area.value.indexOf(mark);
  if (at < 0) return;
  area.setRangeText(text, at, at + mark.length, "preserve");
  area.dispatchEvent(new Event("input", { bubbles: true }));
}

function showFormError(area, message) {
  const place = area.form?.querySelector("[data-error]");
  if (place) showError(message, place);
}

/** Upload pasted files, but not the picture that office programs add to rich text. */
function handlePaste(event) {
  const area = event.target.closest?.("[data-takes-files]");
  const { files, types } = event.clipboardData;
  if (!area || !findForm() || !files.length || (types.includes("text/plain") && types.includes("text/html"))) return;
  event.preventDefault();
  insertLinks(area, [...files].map(nameFile));
}

/** Name a pasted file by the time, since browsers give all of them one name. */
function nameFile(file) {
  if (!/^image\.\w+$/.test(file.name)) return file;
  const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
  return new File([file], `pasted-${time}${file.name.slice(5)}`, { type: file.type });
}

// Drag over the page

function hasFiles(event) {
  return findForm() && event.dataTransfer?.types.includes("Files");
}

function handleDragOver(event) {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.querySelector("[data-drop-zone]").hidden = false;
}

function handleDragLeave(event) {
  if (!event.relatedTarget) document.querySelector("[data-drop-zone]").hidden = true;
}

function handleDrop(event) {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.querySelector("[data-drop-zone]").hidden = true;
  const area = event.target.closest?.("[data-takes-files]");
  const files = [...event.dataTransfer.files];
  if (area) insertLinks(area, files);
  else sendAll(files);
}

export function startFiles() {
  document.addEventListener("change", ({ target }) => {
    if (!target.form || !("upload" in target.form.dataset)) return;
    sendAll([...target.files]);
    target.form.reset();
  });
  document.addEventListener("paste", handlePaste);
  document.addEventListener("dragenter", handleDragOver);
  document.addEventListener("dragover", handleDragOver);
  document.addEventListener("dragleave", handleDragLeave);
  document.addEventListener("drop", handleDrop);
}
