// The result: the charts, and any mart as a table to search and to download.

import { call, download, json, token } from "./api.js";
import { byId, described, el, problemBlock } from "./dom.js";
import { grid } from "./grid.js";
import { label } from "./labels.js";
import { drawOverview } from "./overview.js";

const FIRST = "user_features";
const FORMATS = { csv: "CSV", parquet: "Parquet", json: "JSON", arrow: "Arrow" };
// How the chief tables open. Any other shows all its columns in the order of its key.
const VIEWS = {
  user_features: {
    shown: ["user_id", "user_name", "total_exp_per_user", "avg_exp_time_per_user",
      "most_consumed_compound_name", "distinct_compounds"],
    order: "-total_exp_per_user", searched: "user_name", noun: "user",
  },
  compound_usage: { order: "-times_listed", searched: "compound_name", noun: "compound" },
  users: { searched: "name", noun: "user" },
  compounds: { searched: "compound_name", noun: "compound" },
  experiments: { noun: "experiment" },
  user_compound_usage: { searched: "compound_name" },
  input_issues: { searched: "file", noun: "issue" },
  input_reconciliation: { searched: "file" },
};

let marts = [];
let shown = null;

export function startResults() {
  byId("mart").addEventListener("change", () => open(byId("mart").value));
}

/** Reads everything of this part anew. Whether there are tables; null if nobody answers. */
export async function refreshResults(actions) {
  try {
    marts = await json("v1/marts");
    // The chief mart may be declared and not built yet: one row is asked for.
    await call(`v1/marts/${FIRST}?limit=1`);
  } catch (error) {
    // What is shown stays when nobody answers: the top of the page says that it is old.
    if (shown && !error.status) return null;
    empty(error, actions);
    return false;
  }
  byId("result-empty").replaceChildren();
  byId("result-body").hidden = false;
  document.body.classList.add("furnished");
  if (shown && same(shown.mart, find(shown.mart.name))) shown.grid.load();
  else list();
  await drawOverview();
  return true;
}

export const find = (name) => marts.find((mart) => mart.name === name);

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

function empty(error, actions) {
  const notBuilt = error.status === 404 || error.status === 409;
  byId("result-body").hidden = true;
  document.body.classList.remove("furnished");
  shown = null;
  byId("result-empty").replaceChildren(notBuilt
    ? el("div", { className: "empty" },
      el("p", { className: "empty-title" }, "There are no tables yet"),
      el("p", {}, "Load your files above. Or see first what comes of it: labmart brings a small "
        + "sample laboratory, which gives way to your own files as soon as you load them."),
      el("div", { className: "actions" }, el("button", {
        type: "button", className: "primary", onclick: actions.build,
      }, "Build the sample laboratory")))
    : problemBlock(error.title ?? "No answer", error.message, el("button", {
      type: "button", className: "secondary", onclick: actions.again,
    }, "Try again")));
}

function list() {
  const choice = byId("mart");
  const before = find(choice.value) ? choice.value : FIRST;
  // The chief table first, the others as dbt declares them.
  const order = [...marts].sort((one, other) => (other.name === FIRST) - (one.name === FIRST));
  choice.replaceChildren(...order.map((mart) => el("option", {
    value: mart.name, selected: mart.name === before,
  }, label(mart.name))));
  open(before);
}

function open(name) {
  const mart = find(name);
  byId("mart-description").replaceChildren(...described(mart.description));
  const view = VIEWS[name] ?? {};
  const made = grid(byId("mart-grid"), mart, {
    ...view,
    shown: view.shown?.filter((column) => mart.columns.some((one) => one.name === column)),
    empty: "The table is empty.",
    onQuery: (query) => byId("downloads").replaceChildren(...links(mart, query)),
  });
  shown = { mart, grid: made };
  made.load();
}

/** Links to the whole mart as it is searched and sorted, with all its columns. */
export function links(mart, query) {
  return Object.entries(FORMATS).map(([format, name]) => {
    const parameters = new URLSearchParams(query);
    parameters.set("format", format);
    // JSON comes in pages unless it is asked for as a whole.
    if (format === "json") parameters.set("limit", "0");
    const path = `${mart.rows_url.replace(/^\//, "")}?${parameters}`;
    return fileLink(path, `${mart.name}.${format}`, name, `${label(mart.name)} as ${name}`);
  });
}

export function fileLink(path, file, text, name) {
  return el("a", {
    href: path,
    download: file,
    "aria-label": `Download ${name}`,
    onclick: async (event) => {
      // Without a token the browser does it by itself, in constant memory.
      if (!token.get()) return;
      event.preventDefault();
      try {
        await download(path, file);
      } catch (error) {
        event.target.after(el("span", { className: "problem-line", role: "alert" },
          ` ${error.message}`));
      }
    },
  }, text);
}
