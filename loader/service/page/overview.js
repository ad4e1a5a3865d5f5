// The charts below the first screen: of users, compounds, run times and loads.

import { anyOf, json, rowsOf } from "./api.js";
import { addressOf } from "./address.js";
import { columns, figure, heat, ranking } from "./charts.js";
import { byId } from "./dom.js";
import { doublings, histogram, MOST_ROWS, quantile, readColumns } from "./figures.js";
import { count, grouped, moment, safe, short } from "./format.js";
import { label } from "./labels.js";

const TOP = 20;
const HOT = 10;
const LOADS = 12;

let turn = 0;

/** Draws the charts anew; a chart whose numbers cannot be read says why. */
export async function drawOverview() {
  const mine = ++turn;
  const charts = {
    "Users with most experiments": busiest,
    "Most used compounds": mostUsed,
    "Experiments per user": experimentsPerUser,
    "Run time of experiments": runTimes,
    "Accepted and rejected, by load": byLoad,
    "Which user lists which compound": usage,
  };
  const made = await Promise.all(Object.entries(charts).map(orReason));
  if (mine === turn) byId("charts").replaceChildren(...made);
}

async function orReason([title, make]) {
  try {
    return await make(title);
  } catch (error) {
    return figure({ title, sentence: `Not drawn: ${error.message}` });
  }
}

const partly = (whole) => (whole ? "" : `Drawn from the first ${grouped(MOST_ROWS)} rows.`);
const experimentsOf = (user) => addressOf({ table: "experiments", user_id: `eq.${user}` });

async function top(mart, select, by, limit) {
  const [key] = select;
  const { items } = await json(`v1/marts/${mart}?${new URLSearchParams({
    select, order: `-${by},${key}`, limit, [by]: "gt.0",
  })}`);
  return items;
}

const topUsers = (limit) => top("user_features", ["user_id", "user_name", "total_exp_per_user"],
  "total_exp_per_user", limit);
const topCompounds = (limit) => top("compound_usage",
  ["compound_id", "compound_name", "times_listed"], "times_listed", limit);
const userName = (row) => row.user_name ?? `User ${row.user_id}`;
const compoundName = (row) => row.compound_name ?? `Compound ${row.compound_id}`;

async function busiest(title) {
  const users = await topUsers(TOP);
  if (!users.length) throw new Error("no user has an experiment.");
  const entries = users.map((row) => ({
    name: userName(row), href: experimentsOf(row.user_id), parts: [Number(row.total_exp_per_user)],
  }));
  const [first] = entries;
  return figure({
    title,
    sentence: `${safe(first.name, 80)} has the most: ${count(first.parts[0], "experiment")}.`,
    note: `${users.length === TOP ? `The top ${TOP}. ` : ""}Each name links to the experiments.`,
  }, ranking(entries));
}

async function mostUsed(title) {
  const compounds = await topCompounds(TOP);
  if (!compounds.length) throw new Error("no experiment lists a compound.");
  const entries = compounds.map((row) => ({
    name: compoundName(row), parts: [Number(row.times_listed)],
    href: addressOf({
      table: "user_compound_usage", compound_id: `eq.${row.compound_id}`, order: "-times_listed",
    }),
  }));
  const [first] = entries;
  return figure({
    title,
    sentence: `${safe(first.name, 80)} is used most: it is listed `
      + `${count(first.parts[0], "time")}.`,
    note: "Each name links to the users who list it.",
  }, ranking(entries));
}

async function experimentsPerUser(title) {
  const numbers = [];
  const whole = await readColumns("user_features", ["total_exp_per_user"], ([number]) => {
    numbers.push(Number(number));
  });
  if (!numbers.length) throw new Error("there are no users.");
  const sorted = Float64Array.from(numbers).sort();
  const none = numbers.filter((number) => number === 0).length;
  const doubled = sorted.at(-1) > 12;
  const bins = doubled ? doublings(numbers) : histogram(numbers, { whole: true, most: 13 });
  const sentence = `${count(numbers.length, "user")}; half of them have `
    + `${short(quantile(sorted, 0.5))} experiments or fewer; the most is `
    + `${grouped(sorted.at(-1))}; `
    + `${none ? grouped(none) : "nobody"} ${none > 1 ? "have" : "has"} none.`;
  const note = `${doubled ? "Each column reaches twice as far as the one before." : ""} `
    + partly(whole);
  return figure({ title, sentence, note }, ...columns(title, sentence, bins, {
    below: "experiments of a user", whole: true, unit: "users", head: ["Experiments", "Users"],
  }));
}

async function runTimes(title) {
  const numbers = [];
  let missing = 0;
  const whole = await readColumns("experiments", ["run_time"], ([time]) => {
    if (time === "") missing += 1;
    else numbers.push(Number(time));
  });
  if (!numbers.length) throw new Error("no experiment has a run time.");
  const bins = histogram(numbers);
  const sorted = Float64Array.from(numbers).sort();
  const have = missing === 1 ? "has" : "have";
  const sentence = `${count(numbers.length, "experiment")}; the middle one ran `
    + `${short(quantile(sorted, 0.5))}, the longest ${short(sorted.at(-1))}.`
    + `${missing ? ` ${grouped(missing)} more ${have} no usable run time.` : ""}`;
  const last = bins.at(-1);
  const note = `${last.open ? `The last column gathers the ${grouped(last.count)} that ran `
    + `${short(last.from)} or longer.` : ""} ${partly(whole)}`;
  return figure({ title, sentence, note }, ...columns(title, sentence, bins, {
    below: "run time, in the unit of the export", unit: "experiments",
    head: ["Run time", "Experiments"],
  }));
}

async function byLoad(title) {
  const { items } = await json(`v1/marts/input_reconciliation?${new URLSearchParams({
    order: "-load_id", limit: LOADS,
  })}`);
  const loads = items.filter((row) => row.load_id !== null);
  if (!loads.length) throw new Error("nothing has been loaded.");
  const ids = anyOf(loads.map((row) => row.load_id));
  const { items: ledger } = await json(`v1/loads?${new URLSearchParams({
    load_id: ids, select: "load_id,finished_at", limit: 0,
  })}`);
  const when = new Map(ledger.map((row) => [row.load_id, row.finished_at]));
  const entries = loads.map((row) => {
    const accepted = Number(row.accepted_rows);
    const rejected = Number(row.rejected_rows) + Number(row.rejected_lines);
    return {
      name: `${row.file}, ${label(row.input).toLowerCase()}, ${moment(when.get(row.load_id))}`,
      href: rejected ? addressOf({ load_id: `eq.${row.load_id}` }, "issue.", "issues") : undefined,
      parts: [accepted, rejected],
      words: `${grouped(accepted)} accepted, ${grouped(rejected)} rejected`,
    };
  });
  const sum = (index) => entries.reduce((all, { parts }) => all + parts[index], 0);
  return figure({
    title, wide: true,
    sentence: `Of the last ${count(loads.length, "file")}, the newest first, `
      + `${grouped(sum(0))} records are accepted and ${grouped(sum(1))} rejected.`,
    note: "A name links to what was rejected.",
  }, ranking(entries));
}

async function usage(title) {
  const [users, compounds] = await Promise.all([topUsers(TOP), topCompounds(HOT)]);
  if (!users.length || !compounds.length) throw new Error("no experiment lists a compound.");
  const rows = await rowsOf("user_compound_usage", {
    user_id: anyOf(users.map((row) => row.user_id)),
    compound_id: anyOf(compounds.map((row) => row.compound_id)),
    select: "user_id,compound_id,times_listed",
  });
  const numbers = new Map(users.map((row) => [row.user_id, new Map()]));
  for (const row of rows) numbers.get(row.user_id).set(row.compound_id, Number(row.times_listed));
  return figure({
    title, wide: true,
    sentence: `How often each of the ${count(users.length, "busiest user")} lists each of the `
      + `${count(compounds.length, "most used compound")}; the stronger the colour, the more `
      + "often.",
  }, heat({
    corner: title, numbers, href: experimentsOf,
    rows: users.map((row) => [row.user_id, userName(row)]),
    columns: compounds.map((row) => [row.compound_id, compoundName(row)]),
  }));
}
