// Making elements. Text goes in as text nodes only: what the service tells may hold markup, and
// nothing here ever parses it.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** An element; properties are set as such, names with a dash or in ATTRIBUTES as attributes. */
export function el(name, properties = {}, ...children) {
  return filled(document.createElement(name), properties, children);
}

/** The same for a part of a drawing, whose properties are all attributes. */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const ATTRIBUTES = new Set(["role", "scope", "for", "colspan", "rowspan", "download"]);

function filled(made, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key.includes("-") || ATTRIBUTES.has(key)) made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Says something to people who do not see the page; the same sentence twice is said twice. */
export function announce(sentence) {
  const announcer = byId("announcer");
  announcer.textContent = "";
  setTimeout(() => { announcer.textContent = sentence; }, 50);
}

/** A problem as a block: its heading, and the service's own sentence as it came. */
export function problemBlock(title, detail, ...actions) {
  return el("div", { className: "problem" },
    el("p", { className: "problem-title" }, title),
    el("p", { className: "sentence" }, detail),
    actions.length ? el("div", { className: "actions" }, ...actions) : null);
}

/** A control below its name. The name is beside it, not around it: what a control holds is no part
 * of what it is called. */
export function field(name, control) {
  return el("div", { className: "field" }, el("label", { for: control.id }, name), control);
}

/** dbt's descriptions set names in backticks; nothing else of Markdown is in them. */
export const described = (text) => String(text ?? "").split("`")
  .map((part, index) => (index % 2 ? el("code", {}, part) : part));

let unique = 0;
/** An id that no other element has. */
export const freshId = (stem) => `${stem}-${++unique}`;
