// Drawings. Names with bars are lists, whose names are never cut and lead on to the rows; numbers
// counted are columns, with their numbers as a table for those who do not see them.

import { el, freshId, svg } from "./dom.js";
import { grouped, safe, short } from "./format.js";

const HEIGHT = 250;
const LETTER = 8;

/** A figure: `title`, `sentence` what it says in words, `note`, and what is drawn. */
export function figure({ title, sentence, note, wide }, ...content) {
  const heading = el("h3", { id: freshId("chart") }, title);
  return el("figure", {
    className: `chart panel${wide ? " across" : ""}`, "aria-labelledby": heading.id,
  }, heading, el("figcaption", {}, sentence, note ? ` ${note}` : ""), ...content);
}

/**
 * Names with bars. An entry has its `name`, the `href` of its rows, and `parts`, the numbers that
 * its bar is made of, the second one of what was rejected; `words` stand behind it.
 */
export function ranking(entries) {
  const greatest = Math.max(...entries.map(({ parts }) => total(parts)), 1);
  return el("ol", { className: "ranking" }, ...entries.map(({ name, href, parts, words }) => {
    const drawing = svg("svg", { class: "bar-line", "aria-hidden": "true", height: 10 });
    let from = 0;
    parts.forEach((part, index) => {
      const share = (part / greatest) * 100;
      drawing.append(svg("rect", {
        x: `${from}%`, width: `${share}%`, height: 10, class: index ? "mark rejected" : "mark",
      }));
      from += share;
    });
    const shown = el("bdi", {}, safe(name, 80));
    return el("li", {}, href ? el("a", { href }, shown) : shown,
      el("span", { className: "value" }, words ?? grouped(total(parts))), drawing);
  }));
}

const total = (parts) => parts.reduce((sum, part) => sum + part, 0);

/**
 * Two kinds of things against each other: a table whose greater cells have more colour, by the
 * logarithm, so that one great number does not make all others look alike. `numbers` is a map of
 * maps; `href` gives the address of a row.
 */
export function heat({ corner, rows, columns, numbers, href }) {
  const greatest = Math.max(...[...numbers.values()].flatMap((row) => [...row.values()]), 1);
  const cell = (number) => el("td", {
    className: `h${Math.ceil((Math.log1p(number) / Math.log1p(greatest)) * 5)}`,
  }, number ? grouped(number) : "");
  return el("div", {
    className: "scroll", tabIndex: 0, role: "region", "aria-label": corner,
  }, el("table", { className: "heats" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "User"),
      ...columns.map(([, name]) => el("th", { scope: "col" }, el("bdi", {}, safe(name, 60)))))),
    el("tbody", {}, ...rows.map(([id, name]) => el("tr", {},
      el("th", { scope: "row" }, el("a", { href: href(id) }, el("bdi", {}, safe(name, 60)))),
      ...columns.map(([column]) => cell(numbers.get(id)?.get(column) ?? 0)))))));
}

/** Bins of figures.js as columns standing, with the words below the axis. */
export function columns(title, sentence, bins, { below, whole, unit, head }) {
  const place = el("div", { className: "drawing" });
  let width = 0;
  const redraw = (to) => {
    // Text has one size at every width, so the drawing is made for the width it has.
    if (Math.abs(to - width) < 2) return;
    width = to;
    const axes = { below, whole, unit };
    place.replaceChildren(drawing(title, sentence, Math.max(to, 220), bins, axes));
  };
  new ResizeObserver(([entry]) => redraw(entry.contentRect.width)).observe(place);
  const table = el("table", {}, el("caption", { className: "unseen" }, title),
    el("thead", {}, el("tr", {}, ...head.map((name, index) =>
      el("th", { scope: "col", className: index ? "number" : "" }, name)))),
    el("tbody", {}, ...bins.map((bin) => el("tr", {},
      el("th", { scope: "row" }, binName(bin, whole)),
      el("td", { className: "number" }, grouped(bin.count))))));
  return [place, el("details", {}, el("summary", {}, "These numbers as a table"), table)];
}

function drawing(title, sentence, width, bins, { below, whole, unit }) {
  const named = svg("title", { id: freshId("title") }, title);
  const told = svg("desc", { id: freshId("desc") }, sentence);
  const greatest = Math.max(...bins.map((bin) => bin.count), 1);
  const step = axisStep(greatest);
  const top = Math.ceil(greatest / step) * step;
  const left = grouped(top).length * LETTER + 12;
  const [high, low] = [12, HEIGHT - 44];
  const y = (value) => low - (low - high) * (value / top);
  const each = (width - left - 4) / bins.length;
  const lines = [];
  for (let value = 0; value <= top; value += step) {
    lines.push(
      svg("line", { x1: left, x2: width, y1: y(value), y2: y(value), class: "rule" }),
      svg("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, grouped(value)),
    );
  }
  const marks = bins.map((bin, index) => svg("rect", {
    x: left + index * each + 1.5, width: Math.max(each - 3, 1), rx: 2,
    class: bin.open ? "mark gathers" : "mark",
    y: Math.min(y(bin.count), low - (bin.count ? 2 : 0)),
    height: Math.max(low - y(bin.count), bin.count ? 2 : 0),
  }, svg("title", {}, `${binName(bin, whole)}: ${grouped(bin.count)} ${unit}`)));
  const axis = svg("text", {
    x: left + (width - left) / 2, y: HEIGHT - 6, "text-anchor": "middle",
  }, below);
  return svg("svg", {
    role: "img", "aria-labelledby": named.id, "aria-describedby": told.id, width, height: HEIGHT,
    viewBox: `0 0 ${width} ${HEIGHT}`,
  }, named, told, ...lines, ...marks, ...axisNames(bins, { whole, left, each, low }), axis);
}

/** As many names as fit side by side, and always that of a last column that gathers. */
function axisNames(bins, { whole, left, each, low }) {
  const text = (bin) => {
    if (bin.open) return `${short(bin.from)}+`;
    const last = bin.to - 1;
    return whole && last > bin.from ? `${short(bin.from)}–${short(last)}` : short(bin.from);
  };
  const longest = Math.max(...bins.map((bin) => text(bin).length)) * LETTER + 6;
  const every = Math.max(1, Math.ceil(longest / each));
  const end = bins.length - 1;
  return bins.flatMap((bin, index) => {
    const crowded = bins[end].open && index !== end && (end - index) * each < longest;
    if (crowded || (index % every && !(bin.open && index === end))) return [];
    // The name of a whole number stands below the middle of its column, an edge below the edge.
    const middle = whole || bin.open;
    return [svg("text", {
      x: left + index * each + (middle ? each / 2 : 0), y: low + 18,
      "text-anchor": middle || index ? "middle" : "start",
    }, text(bin))];
  });
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
