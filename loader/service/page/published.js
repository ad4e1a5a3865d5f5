// The first screen: what is published, when, by whom, of which files, and whether to trust it.

import { json } from "./api.js";
import { byId, el } from "./dom.js";
import { count, grouped, moment, safe } from "./format.js";

const NAMED = 3;
const percent = (share) => `${(Math.floor(share * 1000) / 10).toLocaleString("en-GB")} %`;

/** Reads what is published anew. `build` is called by the button that builds the tables. */
export async function refreshPublished(build) {
  const place = byId("published");
  try {
    const [publications, accounts, files] = await Promise.all([
      json("v1/publications?status=eq.current"),
      json(`v1/marts/input_reconciliation?${new URLSearchParams({
        limit: 0, select: "input,load_id,records_read,accepted_rows,superseded_rows",
      })}`),
      json(`v1/loads?${new URLSearchParams({
        status: "eq.current", limit: 0, select: "load_id,file,finished_at,loaded_by",
      })}`),
    ]);
    const [publication] = publications.items;
    place.replaceChildren(...(publication
      ? told(publication, accounts.items, files.items, build)
      : [el("p", {}, "Built by dbt itself: labmart has published no build here.")]));
    place.hidden = false;
  } catch (error) {
    if (error.status) withoutPublished();
  }
}

export function withoutPublished() {
  byId("published").hidden = true;
}

function told(publication, accounts, files, build) {
  const marts = new Map(JSON.parse(publication.marts).map((mart) => [mart.name, mart]));
  const published = new Set(JSON.parse(publication.loads).map(String));
  const used = files.filter((file) => published.has(String(file.load_id)));
  const waiting = files.filter((file) => !published.has(String(file.load_id)));
  const sum = (name) => accounts.reduce((all, row) => all + Number(row[name]), 0);
  // A row that a newer one took the place of was not found wanting.
  const [read, good] = [sum("records_read"), sum("accepted_rows") + sum("superseded_rows")];
  const issues = publication.open_issues ?? 0;
  const newest = files[0];
  const by = publication.published_by ? ` by ${safe(publication.published_by, 60)}` : "";
  return [
    el("p", { className: "of" },
      el("span", { className: "pill", "data-state": "done" }, `Build ${publication.build}`),
      ` published ${moment(publication.published_at)}${by}, from ${named(used)}.`),
    el("ul", { className: "trust" },
      item(good === read, `${grouped(good)} of ${grouped(read)} records accepted`),
      item(!issues, issues ? el("a", { href: "#issues" }, count(issues, "open issue"))
        : "No open issues"),
      item(!publication.tests_warned, `All ${grouped(publication.tests_passed)} tests passed`
        + `${publication.tests_warned ? `, ${publication.tests_warned} with a warning` : ""}`)),
    waiting.length ? el("div", { className: "waiting" },
      el("p", {}, `${count(waiting.length, "newer file")} `
        + `${waiting.length === 1 ? "is" : "are"} loaded and not in these tables yet.`),
      el("button", { type: "button", className: "secondary small", onclick: build },
        "Build the tables")) : null,
    el("dl", { className: "tiles" },
      tile("Users", grouped(marts.get("user_features")?.rows ?? 0)),
      tile("Experiments", grouped(marts.get("experiments")?.rows ?? 0)),
      tile("Accepted", read ? percent(good / read) : "–"),
      newest ? tile("Newest load", moment(newest.finished_at), newest.file)
        : tile("Newest load", "none", "the sample laboratory")),
  ].filter(Boolean);
}

function named(files) {
  if (!files.length) return "the files in seeds";
  const names = files.slice(0, NAMED).map((file) => safe(file.file, 60));
  const rest = files.length - names.length;
  if (rest) names.push(count(rest, "more file"));
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0];
}

const item = (fine, words) => el("li", { "data-fine": String(fine) }, words);

const tile = (name, value, note) => el("div", {}, el("dt", {}, name),
  el("dd", {}, el("strong", {}, value), note ? el("bdi", {}, safe(note, 60)) : null));
