// main: which view is shown: signing in, files, trash, the operators' view.
import {adminView} from "./admin.js";
import {h, replace, say} from "./dom.js";
import {List} from "./list.js";
import {base, facts, findToken, forget, may, open, takeToken} from "./session.js";
import {chooseLanguage, currentLanguage, languages, t} from "./strings.js";
import {add, resumeAll, uploadPanel} from "./upload.js";

const app = document.getElementById("app");
let known = ""; // whose files were shown last
let view = 0; // grows, so that what an older view started knows that it is over

function viewName() {
  if (location.pathname === `${base}/admin`) return "admin";
  return location.hash === "#trash" ? "trash" : "files";
}

function languageChoice() {
  const select = h("select", {"aria-label": t("language"), onchange: () => {
    chooseLanguage(select.value);
    draw();
  }}, Object.entries(languages).map(([code, name]) => h("option", {value: code, lang: code, selected: code === currentLanguage()}, name)));
  return select;
}

function signIn(message) {
  view++;
  const field = h("input", {type: "password", id: "token", autocomplete: "current-password", required: true, "aria-describedby": "token-help"});
  const stay = h("input", {type: "checkbox"});
  const problem = h("p", {role: "alert"}, message || "");
  const form = h("form", {class: "sign-in", onsubmit: (event) => {
    event.preventDefault();
    takeToken(field.value, stay.checked);
    start(true);
  }}, h("h1", {}, "Reelstore"), problem, h("label", {for: "token"}, t("signInWith")), field, h("p", {class: "hint", id: "token-help"}, t("signInHelp")),
    h("label", {class: "check"}, stay, ` ${t("stay")}`), h("button", {type: "submit", class: "primary"}, t("signIn")), languageChoice());
  replace(app, form);
  field.focus();
}

function failed(error) {
  if (error.status === 401) {
    forget();
    signIn(t("sessionEnded"));
  } else say(error.message || t("noServer"));
}

function header(name) {
  const link = (key, href, label) => h("a", {href, "aria-current": name === key ? "page" : null}, label);
  return h("header", {}, h("a", {class: "skip", href: "#list", onclick: (event) => {
    event.preventDefault();
    document.getElementById("list").focus();
  }}, t("skip")), h("strong", {class: "brand"}, "Reelstore"),
    h("nav", {"aria-label": "Reelstore"}, link("files", `${base}/#files`, t("files")), link("trash", `${base}/#trash`, t("trash")),
      facts.operates && link("admin", `${base}/admin`, t("operators"))),
    h("span", {class: "who"}, facts.user), languageChoice(),
    h("button", {type: "button", onclick: () => {
      forget();
      signIn();
    }}, t("signOut")));
}

function uploadButton() {
  const input = h("input", {type: "file", multiple: true, class: "file-input", id: "choose", onchange: () => {
    add(input.files);
    input.value = "";
  }});
  return [input, h("label", {class: "button primary", for: "choose"}, t("upload")), h("span", {class: "hint drop-hint"}, t("dropHere"))];
}

function draw() {
  const mine = ++view, name = viewName();
  document.title = name === "admin" ? `${t("status")} – Reelstore` : `${t(name)} – Reelstore`;
  if (name === "admin") {
    replace(app, header(name), h("main", {}, adminView(() => mine !== view, failed)));
    return;
  }
  const list = new List(name === "files" ? "stored" : "deleted", failed);
  const writes = facts.writes && may("w");
  replace(app, header(name), h("main", {}, h("h1", {}, t(name)), name === "files" && writes && h("div", {class: "upload-line"}, uploadButton()),
    writes && uploadPanel(() => mine === view && list.load()), list.element));
  list.load();
}

async function start(asked = false) {
  try {
    const before = known;
    await open();
    if (!facts.path) throw new Error(t("badToken"));
    known = facts.path;
    draw();
    if (before && before !== known) say(t("signedInAs", {user: facts.user})); // a link of somebody else's may have done that
    resumeAll();
  } catch (error) {
    forget();
    if (error.status === 0) signIn(t("noServer"));
    else signIn(asked ? t("badToken") : "");
  }
}

function carriesFiles(event) {
  return facts.path && facts.writes && may("w") && [...(event.dataTransfer?.types || [])].includes("Files");
}
addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
addEventListener("drop", (event) => {
  document.body.classList.remove("dragging");
  if (!carriesFiles(event)) return;
  event.preventDefault();
  add(event.dataTransfer.files);
});
addEventListener("hashchange", () => {
  if (location.hash.startsWith("#token=")) {
    findToken();
    start(true);
  } else if (facts.path) draw();
});

chooseLanguage();
findToken();
start();
