// What was rejected or questioned and is still open, by rule and cause.

import { addressOf, noteView, viewOf } from "./address.js";
import { byId, el } from "./dom.js";
import { readColumns } from "./figures.js";
import { count, grouped, safe } from "./format.js";
import { grid } from "./grid.js";
import { label, words } from "./labels.js";
import { find, links } from "./results.js";

const MART = "input_issues";
const OPEN = { status: "eq.open" };
const PREFIX = "issue.";
// On a phone the first columns are what is seen.
const SHOWN = ["rule", "message", "file", "line", "column_name", "value"];
const CAUSES = 5;

let shown = null;

/** Counts the issues and reads the table anew. */
export async function refreshIssues() {
  const mart = find(MART);
  if (!mart) return;
  const rules = new Map();
  let total = 0;
  let whole;
  try {
    const columns = ["severity", "rule", "column_name", "value"];
    whole = await readColumns(MART, columns, ([severity, rule, column, value]) => {
      total += 1;
      if (!rules.has(rule)) rules.set(rule, { severity, rule, number: 0, causes: new Map() });
      const one = rules.get(rule);
      one.number += 1;
      const cause = JSON.stringify([column, value]);
      one.causes.set(cause, (one.causes.get(cause) ?? 0) + 1);
    }, OPEN);
  } catch (error) {
    if (shown && !error.status) return;
    byId("issues-body").replaceChildren(el("p", { className: "problem-line" }, error.message));
    shown = null;
    return;
  }
  byId("issue-count").textContent = total ? grouped(total) : "";
  if (!total) {
    byId("issues-body").replaceChildren(el("p", { className: "empty good" },
      "Nothing was rejected and nothing was doubtful."));
    shown = null;
    return;
  }
  shown ??= open(mart);
  shown.groups.replaceChildren(...groups([...rules.values()], total, whole));
  shown.grid.load();
}

/** There are no tables, and so no issues. */
export function withoutIssues() {
  shown = null;
  byId("issue-count").textContent = "";
  byId("issues-body").replaceChildren(el("p", { className: "empty" }, "Nothing to tell yet."));
}

/** Shows the issues that the address asks for. */
export const openAddressedIssues = () => shown?.grid.show(viewOf(PREFIX));

function open(mart) {
  const groupsPlace = el("div");
  const downloads = el("span");
  const place = el("div");
  byId("issues-body").replaceChildren(groupsPlace, el("div", { className: "panel" },
    el("div", { className: "bar" },
      el("h3", { id: "issue-rows", tabIndex: -1 }, "Each of them"),
      el("div", { className: "downloads", role: "group", "aria-label": "Download the issues" },
        el("span", {}, "Download"), downloads)),
    place));
  const made = grid(place, mart, {
    shown: SHOWN,
    order: "severity,file,line",
    noun: "issue",
    empty: "There are none.",
    base: OPEN,
    view: viewOf(PREFIX),
    onQuery: (query, noted) => {
      downloads.replaceChildren(...links(mart, query));
      noteView(noted, PREFIX);
    },
  });
  return { grid: made, groups: groupsPlace };
}

function groups(rules, total, whole) {
  const of = (severity) => rules.filter((rule) => rule.severity === severity)
    .reduce((found, { number }) => found + number, 0);
  rules.sort((one, other) => one.severity.localeCompare(other.severity)
    || other.number - one.number);
  return [
    el("p", { className: "sum" }, `${whole ? "" : "More than "}${count(total, "issue")}: `
      + `${count(of("error"), "error")}, whose row or line is rejected, and `
      + `${count(of("warning"), "warning")}, where the row counts all the same.`),
    el("ul", { className: "rules", "aria-label": "Issues by rule and cause" },
      ...rules.map(group)),
  ];
}

function group({ rule, severity, number, causes }) {
  const link = (view, text) => el("a", {
    href: addressOf({ rule: `eq.${rule}`, ...view }, PREFIX, "issue-rows"),
  }, text);
  const first = [...causes].sort((one, other) => other[1] - one[1]).slice(0, CAUSES);
  const rest = causes.size - first.length;
  return el("li", { className: "panel", "data-severity": severity },
    el("p", {}, link({}, words(rule)), " ",
      el("span", { className: "pill", "data-severity": severity },
        count(number, severity))),
    el("ul", {}, ...first.map(([cause, rows]) => {
      const [column, value] = JSON.parse(cause);
      const what = `${column ? label(column) : "Line"} ${value ? safe(value, 40) : "is empty"}`;
      const view = value ? { value: `eq.${value}` } : {};
      return el("li", {}, link(view, el("bdi", {}, what)), `: ${count(rows, "row")}`);
    }), rest ? el("li", {}, `and ${count(rest, "other cause")}`) : null));
}
