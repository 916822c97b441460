// upload: the panel of uploads: files that are dropped or chosen, two at a time, each with its progress and buttons.
import {h, replace, say} from "./dom.js";
import {facts} from "./session.js";
import {size, t} from "./strings.js";
import {Upload, discard, unfinished} from "./tus.js";

const AT_ONCE = 2;
const uploads = [];
let panel = null, finished = () => {};

const percent = (upload) => (upload.file.size > 0 ? Math.floor((upload.sent / upload.file.size) * 100) : upload.state === "done" ? 100 : 0);

function words(upload) {
  switch (upload.state) {
    case "running": return t("uploading", {done: size(upload.sent), size: size(upload.file.size)});
    case "retrying": return t("retrying");
    case "paused": return t("paused", {percent: percent(upload)});
    case "failed": return t("failed", {reason: upload.reason});
    case "done": return t("done");
    default: return t("waiting");
  }
}

/** KEY: of the text; people with a screen reader hear the file's name too. */
function button(key, name, action) {
  return h("button", {type: "button", class: "small", "aria-label": `${t(key)}: ${name}`, onclick: action}, t(key));
}

function next() {
  const running = uploads.filter((upload) => upload.running).length;
  uploads.filter((upload) => upload.state === "waiting" && !upload.running).slice(0, Math.max(0, AT_ONCE - running)).forEach(run);
}

async function run(upload) {
  await upload.start();
  if (upload.state === "done") {
    say(t("uploaded", {name: upload.file.name}));
    finished();
  }
  next();
}

function drop(upload) {
  uploads.splice(uploads.indexOf(upload), 1);
  upload.row.remove();
  draw();
}

/** The row's moving parts, drawn anew at each change; the buttons only when the state is another one, so that the focus stays. */
function update(upload) {
  const name = upload.file.name;
  upload.bar.value = upload.sent;
  upload.text.textContent = words(upload);
  if (upload.drawn === upload.state) return;
  upload.drawn = upload.state;
  const moving = ["running", "retrying", "waiting"].includes(upload.state);
  const hadFocus = upload.buttons.contains(document.activeElement);
  replace(upload.buttons,
    moving && button("pause", name, () => { upload.pause(); next(); }),
    ["paused", "failed"].includes(upload.state) && button("resume", name, () => run(upload)),
    upload.state !== "done" && button("cancel", name, () => { upload.cancel(); drop(upload); next(); }),
    upload.state === "done" && button("dismiss", name, () => drop(upload)));
  if (hadFocus) upload.buttons.querySelector("button")?.focus();
}

function rowOf(upload) {
  upload.bar = h("progress", {max: Math.max(upload.file.size, 1), value: upload.sent, "aria-label": upload.file.name});
  upload.text = h("span", {class: "upload-state"});
  upload.buttons = h("span", {class: "upload-buttons"});
  upload.drawn = null;
  upload.row = h("li", {}, h("span", {class: "upload-name"}, upload.file.name), upload.bar, upload.text, upload.buttons);
  update(upload);
  return upload.row;
}

function leftRow(entry) {
  return h("li", {}, h("span", {class: "upload-name"}, entry.name), h("span", {class: "upload-state"}, t("unfinished")),
    h("span", {class: "upload-buttons"}, button("discard", entry.name, async () => {
      await discard(entry);
      draw();
    })));
}

function draw() {
  if (!panel) return;
  const mine = new Set(uploads.map((upload) => upload.key));
  const left = unfinished(facts.path).filter((entry) => !mine.has(entry.key) && !uploads.some((upload) => !upload.key));
  panel.hidden = uploads.length + left.length === 0;
  replace(panel, h("h2", {}, t("uploads")), h("ul", {}, uploads.map(rowOf), left.map(leftRow)));
}

/** Takes FILES of a drop or a choice. */
export function add(files) {
  for (const file of files) {
    const upload = new Upload(file, facts.path, update);
    uploads.push(upload);
    if (facts.upload_size_max > 0 && file.size > facts.upload_size_max) {
      upload.state = "failed";
      upload.reason = t("tooLarge", {size: size(facts.upload_size_max)});
    }
  }
  draw();
  next();
}

/** The panel; DONE is called when a file is stored. */
export function uploadPanel(done) {
  finished = done;
  panel = h("section", {class: "uploads", "aria-label": t("uploads"), hidden: true});
  draw();
  return panel;
}

/** Signed in again: those that failed for want of a token go on. */
export function resumeAll() {
  for (const upload of uploads) if (upload.state === "failed" && !upload.running) upload.set("waiting");
  next();
}

addEventListener("beforeunload", (event) => {
  if (uploads.some((upload) => upload.running)) event.preventDefault();
});
