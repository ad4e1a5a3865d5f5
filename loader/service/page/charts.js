// Drawings: bars lying (names to numbers) and columns standing (how often which number). Each has a
// title and a description for those who do not see it, and its numbers as a table.

import { el, freshId, svg } from "./dom.js";
import { grouped, safe, short } from "./format.js";

const ROW = 28;
const HEIGHT = 250;
const LETTER = 7.6;

/** A figure: `title`, `sentence` what it says in words, `note`, `head` and `rows` of its table. */
export function figure({ title, sentence, note, head, rows, draw }) {
  const heading = el("h3", { id: freshId("chart") }, title);
  const place = el("div", { className: "drawing" });
  const table = el("table", {}, el("caption", { className: "unseen" }, title),
    el("thead", {}, el("tr", {}, ...head.map((name, index) =>
      el("th", { scope: "col", className: index ? "number" : "" }, name)))),
    el("tbody", {}, ...rows.map(([name, value]) => el("tr", {},
      el("th", { scope: "row" }, el("bdi", {}, safe(name))),
      el("td", { className: "number" }, grouped(value))))));
  const root = el("figure", { className: "chart panel", "aria-labelledby": heading.id },
    heading, place, el("figcaption", {}, sentence, note ? ` ${note}` : ""),
    el("details", {}, el("summary", {}, "These numbers as a table"), table));
  let width = 0;
  const redraw = (to) => {
    // Text has one size at every width, so the drawing is made for the width it has.
    if (Math.abs(to - width) < 2) return;
    width = to;
    place.replaceChildren(drawing(title, sentence, draw(Math.max(to, 220))));
  };
  new ResizeObserver(([entry]) => redraw(entry.contentRect.width)).observe(place);
  return root;
}

function drawing(title, sentence, { width, height, parts }) {
  const named = svg("title", { id: freshId("title") }, title);
  const told = svg("desc", { id: freshId("desc") }, sentence);
  return svg("svg", {
    role: "img", "aria-labelledby": named.id, "aria-describedby": told.id, width, height,
    viewBox: `0 0 ${width} ${height}`,
  }, named, told, ...parts);
}

/** Bars lying: [[name, number], …]. */
export function bars(rows) {
  return (width) => {
    const greatest = Math.max(...rows.map(([, value]) => value), 1);
    const names = rows.map(([name]) => safe(name, 80));
    const longest = Math.max(...names.map((name) => name.length));
    const room = Math.min(width * 0.42, longest * LETTER + 12);
    const digits = grouped(greatest).length * 8 + 8;
    const scale = (width - room - digits) / greatest;
    const parts = rows.flatMap(([, value], index) => {
      const y = index * ROW;
      const long = Math.max(value * scale, value ? 2 : 0);
      return [
        svg("text", { x: room - 10, y: y + 18, class: "name", "text-anchor": "end" },
          cut(names[index], room - 10)),
        svg("rect", { x: room, y: y + 5, width: long, height: ROW - 10, rx: 3, class: "mark" },
          svg("title", {}, `${names[index]}: ${grouped(value)}`)),
        svg("text", { x: room + long + 6, y: y + 18, class: "value" }, grouped(value)),
      ];
    });
    return { width, height: rows.length * ROW, parts };
  };
}

function cut(name, room) {
  const most = Math.floor(room / LETTER);
  return name.length > most ? `${[...name].slice(0, most - 1).join("")}…` : name;
}

/** Columns standing: bins of figures.histogram, with the words below the axes. */
export function columns(bins, { below, whole, unit }) {
  return (width) => {
    const greatest = Math.max(...bins.map((bin) => bin.count), 1);
    const step = axisStep(greatest);
    const top = Math.ceil(greatest / step) * step;
    const left = grouped(top).length * 8 + 12;
    const [high, low] = [12, HEIGHT - 44];
    const y = (value) => low - (low - high) * (value / top);
    const each = (width - left - 4) / bins.length;
    const lines = [];
    for (let value = 0; value <= top; value += step) {
      lines.push(
        svg("line", { x1: left, x2: width, y1: y(value), y2: y(value), class: "rule" }),
        svg("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end", class: "tick" },
          grouped(value)),
      );
    }
    const marks = bins.map((bin, index) => svg("rect", {
      x: left + index * each + 1.5, width: Math.max(each - 3, 1), class: "mark", rx: 2,
      y: Math.min(y(bin.count), low - (bin.count ? 2 : 0)),
      height: Math.max(low - y(bin.count), bin.count ? 2 : 0),
    }, svg("title", {}, `${binName(bin, whole)}: ${grouped(bin.count)} ${unit}`)));
    const names = axisNames(bins, { whole, left, each, low });
    const axis = svg("text", {
      x: left + (width - left) / 2, y: HEIGHT - 6, "text-anchor": "middle", class: "tick",
    }, below);
    return { width, height: HEIGHT, parts: [...lines, ...marks, ...names, axis] };
  };
}

/** As many names as fit side by side. */
function axisNames(bins, { whole, left, each, low }) {
  // One number to a column stands in its middle, the edge of a step below its edge.
  const single = whole && bins[0].to - bins[0].from === 1;
  const text = (bin) => `${short(bin.from)}${bin.open ? "+" : ""}`;
  const longest = Math.max(...bins.map((bin) => text(bin).length)) * 8 + 8;
  const every = Math.max(1, Math.ceil(longest / each));
  return bins.flatMap((bin, index) => (index % every ? [] : [svg("text", {
    x: left + index * each + (single ? each / 2 : 0), y: low + 18, class: "tick",
    "text-anchor": single ? "middle" : index ? "middle" : "start",
  }, text(bin))]));
}

function axisStep(greatest) {
  const rough = greatest / 4;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough) ?? power;
}

/** `3`, `10 to 19`, `10 to below 12.5`, `50 and more`. */
export function binName(bin, whole) {
  if (bin.open) return `${short(bin.from)} and more`;
  if (whole && bin.to - bin.from === 1) return short(bin.from);
  return whole ? `${short(bin.from)} to ${short(bin.to - 1)}`
    : `${short(bin.from)} to below ${short(bin.to)}`;
}
