// The tables: the charts, and any mart as a table to search, to send on and to download.

import { anyOf, call, download, json, rowsOf, token } from "./api.js";
import { addressOf, noteView, viewOf } from "./address.js";
import { byId, described, el, problemBlock } from "./dom.js";
import { grid } from "./grid.js";
import { label } from "./labels.js";
import { drawOverview } from "./overview.js";

const FIRST = "user_features";
const FORMATS = { xlsx: "Excel", csv: "CSV", parquet: "Parquet", json: "JSON" };
// How the chief tables open. Any other shows all its columns in the order of its key.
const VIEWS = {
  user_features: {
    shown: ["user_id", "user_name", "total_exp_per_user", "avg_exp_time_per_user",
      "most_consumed_compound_name", "distinct_compounds"],
    order: "-total_exp_per_user", noun: "user",
  },
  compound_usage: { order: "-times_listed", noun: "compound" },
  users: { noun: "user" },
  compounds: { noun: "compound" },
  experiments: {
    shown: ["experiment_id", "user_id", "name_of_user", "run_time", "names_of_compounds"],
    noun: "experiment",
    more: [
      { name: "name_of_user", type: "text", of: "user_id", description: "The user’s name." },
      {
        name: "names_of_compounds", type: "text", of: "experiment_id",
        description: "The compounds of the experiment’s list, as they stand in it.",
      },
    ],
    add: addNames,
  },
  input_issues: { noun: "issue" },
};
// Where a value leads, in every table but the one that it leads to.
const LEADS = {
  user_id: (id) => ({ table: "experiments", user_id: `eq.${id}` }),
  compound_id: (id) => ({
    table: "user_compound_usage", compound_id: `eq.${id}`, order: "-times_listed",
  }),
};

let marts = [];
let shown = null;

export function startResults() {
  byId("mart").addEventListener("change", () => {
    noteView(new URLSearchParams({ table: byId("mart").value }));
    openAddressed();
  });
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
    await empty(error, actions);
    return false;
  }
  byId("result-empty").replaceChildren();
  byId("result").hidden = false;
  document.body.classList.add("furnished");
  if (shown && same(shown.mart, find(shown.mart.name))) shown.grid.load();
  else list();
  await drawOverview();
  return true;
}

export const find = (name) => marts.find((mart) => mart.name === name);

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

async function empty(error, actions) {
  const notBuilt = error.status === 404 || error.status === 409;
  byId("result").hidden = true;
  document.body.classList.remove("furnished");
  shown = null;
  const asked = "v1/loads?limit=1&status=eq.current";
  const loads = notBuilt ? (await json(asked).catch(() => null)) : null;
  byId("result-empty").replaceChildren(notBuilt ? nothingBuilt(loads?.items.length > 0, actions)
    : problemBlock(error.title ?? "No answer", error.message, el("button", {
      type: "button", className: "secondary", onclick: actions.again,
    }, "Try again")));
}

function nothingBuilt(loaded, { build }) {
  const [title, words, button] = loaded
    ? ["Your files are loaded, and no tables are built of them yet",
      "Nothing is missing: build the tables, which also tests them. It takes a minute or so.",
      "Build the tables"]
    : ["There are no tables yet",
      "Load your files below. Or see first what comes of it: labmart brings a small sample "
        + "laboratory, which gives way to your own files as soon as you load them.",
      "Build the sample laboratory"];
  return el("div", { className: "empty" }, el("p", { className: "empty-title" }, title),
    el("p", {}, words), el("div", { className: "actions" },
      el("button", { type: "button", className: "primary", onclick: build }, button)));
}

function list() {
  // The chief table first, the others as dbt declares them.
  const order = [...marts].sort((one, other) => (other.name === FIRST) - (one.name === FIRST));
  byId("mart").replaceChildren(...order.map((mart) => el("option", { value: mart.name },
    label(mart.name))));
  shown = null;
  openAddressed();
}

/** Shows the table that the address asks for. */
export function openAddressed() {
  if (!marts.length) return;
  const view = viewOf();
  const mart = find(view.get("table")) ?? find(FIRST);
  byId("mart").value = mart.name;
  if (shown?.mart === mart) { shown.grid.show(view); return; }
  byId("mart-description").replaceChildren(...described(mart.description));
  const { more = [], ...own } = VIEWS[mart.name] ?? {};
  const has = (name) => [...mart.columns, ...more].some((column) => column.name === name);
  const leads = Object.entries(LEADS).filter(([, to]) => to("").table !== mart.name)
    .map(([name, to]) => [name, (id) => addressOf(to(id))]);
  const made = grid(byId("mart-grid"), mart, {
    ...own, more, view,
    shown: own.shown?.filter(has),
    empty: "The table is empty.",
    leads: Object.fromEntries(leads),
    onQuery: (query, noted) => {
      byId("downloads").replaceChildren(...links(mart, query));
      const table = mart.name === FIRST ? {} : { table: mart.name };
      noteView(new URLSearchParams([...Object.entries(table), ...noted]));
    },
  });
  shown = { mart, grid: made };
  made.load();
}

/** Puts the names of users and compounds into rows of experiments. */
async function addNames(rows) {
  if (!rows.length) return;
  const experiments = anyOf(rows.map((row) => row.experiment_id));
  const [users, listed] = await Promise.all([
    rowsOf("users", { user_id: anyOf(rows.map((row) => row.user_id)), select: "user_id,name" }),
    rowsOf("experiment_compounds", {
      experiment_id: experiments, select: "experiment_id,compound_id",
      order: "experiment_id,position",
    }),
  ]);
  const compounds = await rowsOf("compounds", {
    compound_id: anyOf(listed.map((row) => row.compound_id)), select: "compound_id,compound_name",
  });
  const people = new Map(users.map((row) => [row.user_id, row.name]));
  const names = new Map(compounds.map((row) => [row.compound_id, row.compound_name]));
  const of = new Map(rows.map((row) => [row.experiment_id, []]));
  for (const row of listed) {
    of.get(row.experiment_id).push(names.get(row.compound_id) ?? `compound ${row.compound_id}`);
  }
  for (const row of rows) {
    row.name_of_user = people.get(row.user_id);
    row.names_of_compounds = of.get(row.experiment_id).join("; ") || null;
  }
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
