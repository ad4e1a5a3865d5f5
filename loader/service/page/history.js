// The history of loads, with undo and redo.

import { json } from "./api.js";
import { confirmed } from "./dialog.js";
import { byId, el, problemBlock } from "./dom.js";
import { count, moment, safe } from "./format.js";
import { label, words } from "./labels.js";
import { fileLink } from "./results.js";
import { willingToSignIn } from "./signin.js";

const PAGE = 25;
// How a load stands, in words: what it means for the tables.
const STATUSES = { current: "counts", superseded: "replaced", reverted: "undone" };

let onJob = () => {};
let shownPages = 1;

export function startHistory(accepted) {
  onJob = accepted;
}

/** Reads the loads anew, as many pages as were opened. How many; null if that is not known. */
export async function refreshHistory() {
  const place = byId("history-body");
  const loads = [];
  let next = null;
  try {
    for (let page = 0; page < shownPages; page += 1) {
      const parameters = new URLSearchParams({ limit: PAGE, ...(next && { after: next }) });
      const answer = await json(`v1/loads?${parameters}`);
      loads.push(...answer.items);
      next = answer.next;
      if (next === null) break;
    }
    // The files of one call may go on on the next page: then the entry is shown there.
    const last = loads.at(-1)?.call_id;
    if (next !== null && loads[0].call_id !== last) {
      while (loads.at(-1).call_id === last) loads.pop();
    }
  } catch (error) {
    // Without an answer the history that is shown stays.
    if (error.status || !place.children.length) {
      place.replaceChildren(problemBlock(error.title ?? "No answer", error.message));
    }
    return null;
  }
  // The row whose button had the focus has it again.
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.load : "";
  place.replaceChildren(...(loads.length ? [table(loads), more(next)].filter(Boolean) : [el("p",
    { className: "empty" }, "Nothing has been loaded yet.")]));
  if (focused) place.querySelector(`[data-load="${CSS.escape(focused)}"]`)?.focus();
  return loads.length;
}

function more(next) {
  return next === null ? null : el("div", { className: "actions" }, el("button", {
    type: "button", className: "secondary", onclick: () => { shownPages += 1; refreshHistory(); },
  }, "Show older loads"));
}

function table(loads) {
  const head = [["Load", "number"], ["File"], ["Table"], ["Now"], ["Records", "number"],
    ["Lines rejected", "number"], ["Loaded"], ["Action"]];
  return el("div", { className: "panel" }, el("div", {
    className: "scroll", tabIndex: 0, role: "region", "aria-label": "Loads",
  }, el("table", {}, el("caption", { className: "unseen" }, "Loads, the newest first"),
    el("thead", {}, el("tr", {}, ...head.map(([name, className = ""]) =>
      el("th", { scope: "col", className }, name)))),
    ...entries(loads))));
}

/** Files that were loaded together are one entry, which is undone as a whole. */
function entries(loads) {
  const calls = Map.groupBy(loads, (load) => load.call_id ?? load.load_id);
  return [...calls.values()].map((files) => el("tbody", {},
    ...files.map((load, index) => row(load, index ? [] : files))));
}

/** A row; the first of an entry has the cells of all its `files`. */
function row(load, files) {
  const file = safe(load.file, 120);
  const rowspan = files.length;
  // The job that the service adds is of no use to a person.
  const who = String(load.loaded_by ?? "").replace(/ \(job [^)]*\)$/, "");
  const by = who && who !== "local" ? ` by ${safe(who, 60)}` : "";
  const rejected = Number(load.records_rejected) > 0
    ? fileLink(`v1/rejected?load_id=eq.${load.load_id}&format=csv`, `rejected-${load.load_id}.csv`,
      load.records_rejected,
      `the ${load.records_rejected} rejected lines of load ${load.load_id}`)
    : load.records_rejected;
  return el("tr", { className: load.status === "current" ? "" : "faded" },
    el("td", { className: "number" }, load.load_id),
    el("th", { scope: "row" }, el("bdi", {}, file)),
    el("td", {}, label(load.input)),
    el("td", {}, el("span", { className: "pill", "data-status": load.status },
      STATUSES[load.status] ?? words(load.status))),
    el("td", { className: "number" }, load.records_read),
    el("td", { className: "number" }, rejected),
    ...(rowspan ? [
      el("td", { rowspan }, `${moment(load.finished_at ?? load.started_at)}${by}`),
      el("td", { rowspan }, action(files)),
    ] : []));
}

function action(files) {
  const [load] = files;
  const first = safe(load.file, 120);
  const file = files.length > 1 ? `${first} and ${count(files.length - 1, "more file")}` : first;
  const undone = files.every(({ status }) => status === "reverted");
  const what = undone ? "Redo" : "Undo";
  const rows = count(files.reduce((sum, { records_read }) => sum + Number(records_read), 0),
    "record");
  const made = el("button", {
    type: "button",
    className: "secondary small",
    "aria-label": `${what} load ${load.load_id}, ${file}`,
    onclick: () => change(load, what, undone
      ? `The ${rows} of ${file} count again, and replace again what they had replaced. Then all `
        + "tables are built anew. You can undo it again."
      : `The ${rows} of ${file} do not count any more; what they had replaced counts again. Then `
        + "all tables are built anew. Nothing is deleted: you can redo it at any time."),
  }, what);
  made.dataset.load = load.load_id;
  return made;
}

async function change(load, what, text) {
  const yes = await confirmed({ title: `${what} load ${load.load_id}?`, text, yes: what });
  if (!yes) return;
  willingToSignIn();
  try {
    const path = `v1/loads/${load.load_id}/${what.toLowerCase()}?together=true`;
    onJob(await json(path, { method: "POST" }));
  } catch (error) {
    byId("history-body").prepend(el("div", { role: "alert" },
      problemBlock(error.title ?? "No answer", error.message)));
  }
}
