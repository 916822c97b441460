// player: a film, sound or picture in a dialog: the file itself where the browser knows its type, else HLS, by itself or by hls.js.
import {dialog, h} from "./dom.js";
import {address, ask, facts} from "./session.js";
import {t} from "./strings.js";

const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2];
const HLS = "application/vnd.apple.mpegurl";

export const kindOf = (file) => (/^(video|audio|image)\//.exec(file.type || "") || [])[1] || "other";

export const nameOf = (file) => file.name || file.id;

/** As it is shown: without the characters that turn the direction of writing around and so make one extension look like another. */
export const shownName = (file) => nameOf(file).replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

export const fileAddress = (file, query = "") => address("files", file.path, `/${encodeURIComponent(nameOf(file))}${query}`);

/** hls.js, where the server has it; asked for when a film needs it. Its worker would be a script out of a blob, which the page's policy refuses. */
let library = null;
const loadHls = () => (library ||= import("./hls.mjs").then(({default: Hls}) => (Hls.isSupported() ? Hls : null), () => null));

/** Plays URL by hls.js; resolves with the player, null where there is none. FAILED is called when it cannot go on. */
async function attachHls(video, url, failed) {
  const Hls = await loadHls();
  if (!Hls) return null;
  const player = new Hls({enableWorker: false});
  let recovered = false;
  player.on(Hls.Events.ERROR, (_, data) => {
    if (!data.fatal) return;
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && !recovered) {
      recovered = true;
      player.recoverMediaError();
    } else failed();
  });
  player.loadSource(url);
  player.attachMedia(video);
  return player;
}

/** Where its bytes come from, best first: what the browser plays by itself, else hls.js (LIBRARY). */
function sources(file, video) {
  const plain = {url: fileAddress(file)}, stream = {url: address("hls", file.path, "/master.m3u8")};
  const native = video.canPlayType(HLS) !== "";
  if (!native && !facts.hls) return [plain];
  if (!native) stream.library = true;
  return video.canPlayType(file.type) !== "" ? [plain, stream] : [stream, plain];
}

/** Files of the same user that are named like this one and hold subtitles. */
async function findSubtitles(file) {
  const stem = nameOf(file).replace(/\.[^.]*$/, ""), owner = file.path.split("/").slice(0, 3).join("/");
  if (!stem) return [];
  const {files} = await ask("GET", `/files${owner}?limit=50&q=${encodeURIComponent(stem)}`);
  return files.filter((other) => nameOf(other).toLowerCase().startsWith(`${stem.toLowerCase()}.`) && /\.(srt|vtt)$/i.test(nameOf(other)))
    .map((other) => {
      const middle = nameOf(other).slice(stem.length).replace(/\.(srt|vtt)$/i, "").replace(/^\./, "");
      return {label: middle || t("subtitles"), language: /^[a-z]{2,3}(-\w+)?$/i.test(middle) ? middle : "",
        url: address("files", other.path, "/subtitles.vtt")};
    });
}

function addSubtitles(video, select, found) {
  found.forEach((subtitles, index) => {
    video.append(h("track", {kind: "subtitles", label: subtitles.label, srclang: subtitles.language || "und", src: subtitles.url}));
    select.append(h("option", {value: String(index)}, subtitles.label));
  });
  select.closest("label").hidden = found.length === 0;
}

function showTrack(video, index) {
  [...video.textTracks].forEach((track, i) => { track.mode = String(i) === index ? "showing" : "disabled"; });
}

function step(select, by) {
  const index = Math.min(Math.max(select.selectedIndex + by, 0), select.options.length - 1);
  select.selectedIndex = index;
  select.dispatchEvent(new Event("change"));
}

function onKey(event, video, speed, subtitles) {
  if (event.ctrlKey || event.altKey || event.metaKey || ["SELECT", "BUTTON", "A", "INPUT"].includes(event.target.tagName)) return;
  const seek = (by) => { video.currentTime = Math.max(0, Math.min(video.currentTime + by, video.duration || 0)); };
  const louder = (by) => { video.volume = Math.max(0, Math.min(1, video.volume + by)); };
  const actions = {
    " ": () => (video.paused ? video.play() : video.pause()),
    k: () => (video.paused ? video.play() : video.pause()),
    ArrowLeft: () => seek(-5), ArrowRight: () => seek(5), j: () => seek(-10), l: () => seek(10),
    ArrowUp: () => louder(0.1), ArrowDown: () => louder(-0.1),
    Home: () => { video.currentTime = 0; }, End: () => { video.currentTime = video.duration || 0; },
    m: () => { video.muted = !video.muted; },
    f: () => (document.fullscreenElement ? document.exitFullscreen() : video.requestFullscreen?.()),
    "<": () => step(speed, -1), ">": () => step(speed, 1),
    c: () => {
      subtitles.selectedIndex = (subtitles.selectedIndex + 1) % subtitles.options.length;
      subtitles.dispatchEvent(new Event("change"));
    },
  };
  const action = actions[event.key] || actions[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  event.stopPropagation();
  Promise.resolve(action()).catch(() => {});
}

function playerOf(file, element) {
  const kind = kindOf(file);
  const video = h(kind === "audio" ? "audio" : "video", {controls: true, autoplay: true, playsinline: true, preload: "metadata",
    "aria-label": shownName(file), tabindex: "0", poster: kind === "video" ? address("poster", file.path, "/poster.jpg?w=960") : null});
  const problem = h("p", {role: "alert", hidden: true}, t("cannotPlay"));
  const speed = h("select", {onchange: () => { video.playbackRate = Number(speed.value); }},
    SPEEDS.map((value) => h("option", {value: String(value), selected: value === 1}, `${value}×`)));
  const subtitles = h("select", {onchange: () => showTrack(video, subtitles.value)}, h("option", {value: ""}, t("off")));
  const left = sources(file, video);
  let player = null, turn = 0;
  const detach = () => {
    turn++;
    player?.destroy();
    player = null;
  };
  const try_next = async () => {
    const source = left.shift();
    detach();
    problem.hidden = Boolean(source);
    if (!source) return;
    if (!source.library) {
      video.src = source.url;
      return;
    }
    const mine = turn, attached = await attachHls(video, source.url, () => { if (mine === turn) try_next(); });
    if (mine !== turn) attached?.destroy(); // closed meanwhile
    else if (attached) player = attached;
    else try_next();
  };
  const on_error = () => { if (!player) try_next(); }; // hls.js says itself when it cannot go on
  video.addEventListener("error", on_error);
  element.addEventListener("keydown", (event) => onKey(event, video, speed, subtitles), true);
  element.addEventListener("close", () => { // the connection ends with it
    video.removeEventListener("error", on_error);
    detach();
    video.pause();
    video.removeAttribute("src");
    video.load();
  });
  const controls = h("div", {class: "player-controls"}, h("label", {}, `${t("speed")} `, speed),
    h("label", {hidden: true}, `${t("subtitles")} `, subtitles));
  try_next();
  findSubtitles(file).then((found) => addSubtitles(video, subtitles, found)).catch(() => {});
  return [video, problem, controls, h("p", {class: "hint"}, t("keys"))];
}

export function show(file) {
  return dialog(shownName(file), (close, element) => {
    const content = kindOf(file) === "image" ? [h("img", {src: fileAddress(file), alt: shownName(file)})] : playerOf(file, element);
    return [...content, h("div", {class: "buttons"}, h("a", {class: "button", href: fileAddress(file, "?download"), download: ""}, t("download")),
      h("button", {type: "button", onclick: () => close()}, t("close")))];
  }, "player");
}
