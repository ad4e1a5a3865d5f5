// What was rejected or noticed, by rule.

import { byId, el, field } from "./dom.js";
import { readColumns } from "./figures.js";
import { count, grouped } from "./format.js";
import { grid } from "./grid.js";
import { words } from "./labels.js";
import { find, links } from "./results.js";

const MART = "input_issues";
const SHOWN = ["file", "line", "rule", "column_name", "value", "message"];

let shown = null;

/** Counts the issues by rule and reads the table anew. */
export async function refreshIssues() {
  const mart = find(MART);
  if (!mart) return;
  const rules = new Map();
  let whole;
  try {
    whole = await readColumns(MART, ["severity", "rule"], (line) => {
      rules.set(line, (rules.get(line) ?? 0) + 1);
    });
  } catch (error) {
    if (shown && !error.status) return;
    byId("issues-body").replaceChildren(el("p", { className: "problem-line" }, error.message));
    shown = null;
    return;
  }
  const total = [...rules.values()].reduce((sum, number) => sum + number, 0);
  byId("issue-count").textContent = total ? grouped(total) : "";
  if (!total) {
    byId("issues-body").replaceChildren(el("p", { className: "empty good" },
      "Nothing was rejected and nothing was doubtful."));
    shown = null;
    return;
  }
  shown ??= open(mart);
  shown.head(rules, total, whole);
  shown.grid.load();
}

/** There are no tables, and so no issues. */
export function withoutIssues() {
  shown = null;
  byId("issue-count").textContent = "";
  byId("issues-body").replaceChildren(el("p", { className: "empty" }, "Nothing to tell yet."));
}

function open(mart) {
  const sum = el("p", { className: "sum" });
  const rule = el("select", { id: "rule" });
  const downloads = el("span");
  const place = el("div");
  byId("issues-body").replaceChildren(sum, el("div", { className: "panel" },
    el("div", { className: "bar" },
      field("Rule", rule),
      el("div", { className: "downloads", role: "group", "aria-label": "Download the issues" },
        el("span", {}, "Download"), downloads)),
    place));
  const made = grid(place, mart, {
    shown: SHOWN,
    order: "severity,file,line",
    searched: "file",
    noun: "issue",
    empty: "There are none.",
    onQuery: (query) => downloads.replaceChildren(...links(mart, query)),
  });
  rule.addEventListener("change", () => {
    made.setFixed(rule.value ? { rule: `eq.${rule.value}` } : {});
  });
  return { grid: made, head: (rules, total, whole) => head({ sum, rule }, rules, total, whole) };
}

function head({ sum, rule }, rules, total, whole) {
  const all = [...rules].map(([line, number]) => [...line.split(","), number])
    .sort((one, other) => one[0].localeCompare(other[0]) || other[2] - one[2]);
  const of = (severity) => all.filter(([one]) => one === severity)
    .reduce((found, [, , number]) => found + number, 0);
  sum.textContent = `${whole ? "" : "More than "}${count(total, "issue")}: `
    + `${count(of("error"), "error")}, whose row or line is rejected, and `
    + `${count(of("warning"), "warning")}, where the row counts all the same.`;
  const chosen = rule.value;
  const options = all.map(([severity, name, number]) => el("option", {
    value: name, selected: name === chosen,
  }, `${words(name)} (${severity}, ${grouped(number)})`));
  rule.replaceChildren(el("option", { value: "" }, "All rules"), ...options);
}
