// dom: elements out of data. Texts become text nodes, never markup: names are anybody's.

/** h("a", {href: "/", class: "x", onclick: f}, "text", node, [more]) */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "muted" || name === "max") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

export function replace(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== undefined && child !== null && child !== false));
}

/** Says TEXT to everybody, those with a screen reader too. */
export function say(text) {
  const place = document.getElementById("says");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.classList.remove("shown"), 6000);
}

/** A dialog with a heading; resolves with what close(value) is called with, undefined after Escape. BUILD(close) gives its content. */
export function dialog(title, build, className = "") {
  return new Promise((resolve) => {
    let result;
    const heading = h("h2", {id: "dialog-title"}, title);
    const element = h("dialog", {class: className, "aria-labelledby": "dialog-title"}, heading);
    const close = (value) => {
      result = value;
      element.close();
    };
    element.append(...[build(close, element)].flat());
    element.addEventListener("close", () => {
      element.remove();
      resolve(result);
    });
    document.body.append(element);
    element.showModal();
  });
}
