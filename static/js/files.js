// Files: chosen, dropped anywhere on the page, or pasted into what is being written. Each is sent by itself, with its progress.
//   form[data-upload="<ticket>"]   where they go; data-limit: how many bytes one may have
//   [data-uploads]                 where they are listed while they are on their way
//   [data-takes-files]             a text that gets a link to what is dropped on it or pasted into it

import { say } from "./forms.js";
import { fragments } from "./live.js";
import { meta } from "./page.js";

const form = () => document.querySelector("form[data-upload]");
const size = (count) => (count < 1 << 20 ? `${Math.max(1, Math.round(count / 1024))} KB` : `${(count / (1 << 20)).toFixed(1).replace(".0", "")} MB`);

/** Send one file; resolves to what the server made of it. Raises an Error whose message is fit to be shown. */
function send(file, onProgress) {
  const { upload: ticket, limit } = form().dataset;
  if (file.size > Number(limit)) throw new Error(`${file.name} has ${size(file.size)}; a file may have ${size(Number(limit))}.`);
  if (!file.size) throw new Error(`${file.name} is empty, or a folder.`);
  const data = new FormData();
  data.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/v1/tickets/${ticket}/attachments`);
    request.setRequestHeader("X-CSRF-Token", meta("csrf"));
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded / total);
    request.onload = () => (request.status === 201 ? resolve(request.response) : reject(new Error(`${file.name}: ${request.response?.message ?? `the server refused (${request.status}).`}`)));
    request.onerror = () => reject(new Error(`${file.name} did not arrive: Mission Control was not reached, or closed the line because the file is too large. Attach it again.`));
    request.send(data);
  });
}

/** Send one file and show it in the list, whatever comes of it. */
async function attach(file, onProgress = () => {}) {
  try {
    return await send(file, onProgress);
  } finally {
    fragments.refresh(document.getElementById("ticket-side"));
  }
}

/** One after the other, each on a line of its own; a refusal stays until it is put away. */
async function attachAll(files) {
  for (const file of files) {
    const line = addLine(file.name);
    try {
      await attach(file, (share) => (line.querySelector("progress").value = share));
      line.remove();
    } catch (refusal) {
      refuse(line, refusal.message);
    }
  }
}

const lineOf = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

function addLine(name) {
  const line = lineOf("uploading");
  line.querySelector("[data-name]").textContent = name;
  line.querySelector("progress").setAttribute("aria-label", `Attaching ${name}`);
  document.querySelector("[data-uploads]").append(line);
  document.getElementById("side-toggle").checked = true; // where the details are folded
  line.scrollIntoView({ block: "nearest" });
  return line;
}

function refuse(line, message) {
  const refused = lineOf("upload-refused");
  refused.querySelector("p").textContent = message;
  refused.querySelector("[data-away]").addEventListener("click", () => refused.remove());
  line.replaceWith(refused);
}

// Into a text

/** A mark stands in the text until the file is there, and becomes a link to it. */
async function writeInto(area, files) {
  for (const file of files) {
    const mark = `[Attaching ${file.name}…]`;
    insert(area, mark);
    const made = await attach(file).catch((refusal) => tell(area, refusal.message));
    replace(area, mark, made ? link(made) : "");
  }
}

function link({ id, name, media_type: type }) {
  return linkTo(name, /^(image|text)\//.test(type) ? `/attachments/${id}/preview` : `/api/v1/attachments/${id}`);
}

export function linkTo(name, place) {
  return `[${name.replace(/[[\]\\]/g, "")}](${place})`;
}

export function insert(area, text) {
  const before = area.value.slice(0, area.selectionStart);
  area.focus();
  area.setRangeText((before && !/\s$/.test(before) ? " " : "") + text, area.selectionStart, area.selectionEnd, "end");
  area.dispatchEvent(new Event("input", { bubbles: true }));
}

function replace(area, mark, text) {
  const at = area.value.indexOf(mark);
  if (at < 0) return;
  area.setRangeText(text, at, at + mark.length, "preserve");
  area.dispatchEvent(new Event("input", { bubbles: true }));
}

function tell(area, message) {
  const place = area.form?.querySelector("[data-error]");
  if (place) say(message, place);
}

/** Rich text from an office program comes with a picture of itself: the words are what is meant. */
function paste(event) {
  const area = event.target.closest?.("[data-takes-files]");
  const { files, types } = event.clipboardData;
  if (!area || !form() || !files.length || (types.includes("text/plain") && types.includes("text/html"))) return;
  event.preventDefault();
  writeInto(area, [...files].map(named));
}

/** What is pasted is always called the same: it gets the time as its name. */
function named(file) {
  if (!/^image\.\w+$/.test(file.name)) return file;
  const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
  return new File([file], `pasted-${time}${file.name.slice(5)}`, { type: file.type });
}

// Over the page

function carries(event) {
  return form() && event.dataTransfer?.types.includes("Files");
}

function over(event) {
  if (!carries(event)) return;
  event.preventDefault();
  document.querySelector("[data-drop-zone]").hidden = false;
}

function out(event) {
  if (!event.relatedTarget) document.querySelector("[data-drop-zone]").hidden = true;
}

function drop(event) {
  if (!carries(event)) return;
  event.preventDefault();
  document.querySelector("[data-drop-zone]").hidden = true;
  const area = event.target.closest?.("[data-takes-files]");
  const files = [...event.dataTransfer.files];
  if (area) writeInto(area, files);
  else attachAll(files);
}

export function startFiles() {
  document.addEventListener("change", ({ target }) => {
    if (!target.form || !("upload" in target.form.dataset)) return;
    attachAll([...target.files]);
    target.form.reset();
  });
  document.addEventListener("paste", paste);
  document.addEventListener("dragenter", over);
  document.addEventListener("dragover", over);
  document.addEventListener("dragleave", out);
  document.addEventListener("drop", drop);
}
