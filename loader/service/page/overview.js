// The three charts above the result.

import { json } from "./api.js";
import { bars, binName, columns, figure } from "./charts.js";
import { byId, el } from "./dom.js";
import { histogram, MOST_ROWS, quantile, readColumns } from "./figures.js";
import { count, grouped, safe, short } from "./format.js";

// Up to so many users each has a bar with a name.
const FEW = 12;
const MOST_USED = 8;

let turn = 0;

/** Draws the charts anew; a chart whose numbers cannot be read says why. */
export async function drawOverview() {
  const mine = ++turn;
  const made = await Promise.all([
    orReason("Experiments per user", experimentsPerUser),
    orReason("Most used compounds", mostUsed),
    orReason("Run time of experiments", runTimes),
  ]);
  if (mine === turn) byId("charts").replaceChildren(...made);
}

async function orReason(title, make) {
  try {
    return await make(title);
  } catch (error) {
    return el("figure", { className: "chart panel" }, el("h3", {}, title),
      el("figcaption", {}, `Not drawn: ${error.message}`));
  }
}

const partly = (whole) => (whole ? "" : `Drawn from the first ${grouped(MOST_ROWS)} rows.`);

async function experimentsPerUser(title) {
  const select = "user_id,user_name,total_exp_per_user";
  const order = "-total_exp_per_user,user_id";
  const first = new URLSearchParams({ select, order, limit: FEW });
  const few = await json(`v1/marts/user_features?${first}`);
  if (few.next === null) {
    if (!few.items.length) throw new Error("there are no users.");
    const rows = few.items.map((row) =>
      [row.user_name ?? `User ${row.user_id}`, Number(row.total_exp_per_user)]);
    return figure({
      title, head: ["User", "Experiments"], rows, draw: bars(rows),
      sentence: `${safe(rows[0][0], 80)} has the most: ${count(rows[0][1], "experiment")}.`,
    });
  }
  const numbers = [];
  const whole = await readColumns("user_features", ["total_exp_per_user"], (line) => {
    numbers.push(Number(line));
  });
  const bins = histogram(numbers, { whole: true });
  const sorted = Float64Array.from(numbers).sort();
  const none = numbers.filter((number) => number === 0).length;
  return figure({
    title, head: ["Experiments", "Users"], note: partly(whole),
    rows: bins.map((bin) => [binName(bin, true), bin.count]),
    draw: columns(bins, { below: "experiments of a user", whole: true, unit: "users" }),
    sentence: `${count(numbers.length, "user")}; half of them have ${short(quantile(sorted, 0.5))} `
      + `experiments or fewer; the most is ${grouped(sorted.at(-1))}; `
      + `${none ? grouped(none) : "nobody"} ${none ? (none === 1 ? "has" : "have") : "has"} none.`,
  });
}

async function mostUsed(title) {
  const { items } = await json(`v1/marts/compound_usage?${new URLSearchParams({
    select: "compound_id,compound_name,times_listed",
    order: "-times_listed,compound_id",
    limit: MOST_USED,
  })}`);
  const rows = items.filter((row) => Number(row.times_listed) > 0)
    .map((row) => [row.compound_name ?? `Compound ${row.compound_id}`, Number(row.times_listed)]);
  if (!rows.length) throw new Error("no experiment lists a compound.");
  return figure({
    title, head: ["Compound", "Times listed"], rows, draw: bars(rows),
    sentence: `${safe(rows[0][0], 80)} is used most: it is listed ${count(rows[0][1], "time")}.`,
  });
}

async function runTimes(title) {
  const numbers = [];
  let missing = 0;
  const whole = await readColumns("experiments", ["run_time"], (line) => {
    if (line === "") missing += 1;
    else numbers.push(Number(line));
  });
  if (!numbers.length) throw new Error("no experiment has a run time.");
  const bins = histogram(numbers);
  const sorted = Float64Array.from(numbers).sort();
  const have = missing === 1 ? "has" : "have";
  const without = missing ? ` ${grouped(missing)} more ${have} no usable run time.` : "";
  return figure({
    title, head: ["Run time", "Experiments"], note: partly(whole),
    rows: bins.map((bin) => [binName(bin, false), bin.count]),
    draw: columns(bins, { below: "run time, in the unit of the export", unit: "experiments" }),
    sentence: `${count(numbers.length, "experiment")}; the middle one ran `
      + `${short(quantile(sorted, 0.5))}, the longest ${short(sorted.at(-1))}.${without}`,
  });
}
