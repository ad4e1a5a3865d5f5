// One job as a person sees it: what it is, how far it is, what came of it.

import { el, freshId } from "./dom.js";
import { bytes, count, duration, grouped, moment, safe } from "./format.js";
import { words } from "./labels.js";
import { isRefused, onPage, remedy } from "./refused.js";

export const STATES = {
  queued: "Waiting", running: "Running", done: "Done", failed: "Failed", cancelled: "Cancelled",
};
const OUTCOMES = { loaded: "loaded", known: "already loaded", refused: "refused" };
// What an undo or redo made of a load.
const CHANGED = {
  current: "counts again", reverted: "is undone", superseded: "is replaced by another one",
};
const FINAL = new Set(["done", "failed", "cancelled"]);

export const isFinal = (state) => FINAL.has(state);

/** What a job does, in words. */
export function title(job) {
  const names = (job.files ?? []).map((file) => safe(file.name, 60));
  const some = names.length > 1
    ? `${names[0]} and ${count(names.length - 1, "more file")}` : names[0];
  const load = job.options?.load_id;
  switch (job.kind) {
    case "build": return "Build of all tables";
    case "undo": return load ? `Undo of load ${load}` : "Undo of a load";
    case "redo": return load ? `Redo of load ${load}` : "Redo of a load";
    default: return some ? `Load of ${some}` : "Load";
  }
}

/** A card; `update(view)` brings it up to date. */
export function card({ onCancel, onClose, onAgain }) {
  const heading = el("h3", { id: freshId("job") });
  const pill = el("span", { className: "pill" });
  const about = el("p", { className: "hint" });
  const sentence = el("p", { className: "now" });
  const meter = el("progress", { "aria-labelledby": heading.id });
  const outcome = el("div");
  const again = el("div");
  const cancel = el("button", {
    type: "button", className: "secondary small", onclick: onCancel,
  }, "Cancel");
  const closing = el("button", {
    type: "button", className: "quiet small", onclick: onClose,
  }, "Close");
  const root = el("article", { className: "job", "aria-labelledby": heading.id },
    el("header", {}, pill, heading, cancel, closing), about, sentence, meter, outcome, again);
  const parts = {
    heading, pill, about, sentence, meter, outcome, again, onAgain, cancel,
  };
  return { root, update: (view) => update({ ...parts, root, closing }, view) };
}

function update(parts, view) {
  const { job } = view;
  const over = isFinal(job.state);
  parts.root.dataset.state = job.state;
  set(parts.pill, STATES[job.state] ?? words(job.state));
  parts.pill.dataset.state = job.state;
  set(parts.heading, title(job));
  parts.cancel.setAttribute("aria-label", `Cancel: ${title(job)}`);
  parts.closing.setAttribute("aria-label", `Close: ${title(job)}`);
  set(parts.about, about(job));
  set(parts.sentence, over ? ended(job) : underway(view));
  parts.meter.hidden = job.state !== "running";
  measure(parts.meter, job.progress ?? {});
  parts.cancel.hidden = over;
  parts.cancel.disabled = Boolean(view.cancelling);
  parts.closing.hidden = !over;
  drawOutcome(parts.outcome, view);
  // Made once: a person is at work in it.
  if (isRefused(job) && !parts.again.hasChildNodes()) {
    parts.again.append(remedy(job, parts.onAgain));
  }
}

/** Text that did not change is not written again: a screen reader would read it again. */
function set(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

function about(job) {
  const by = job.created_by && job.created_by !== "local" ? ` by ${safe(job.created_by, 60)}` : "";
  const replace = job.options?.replace ? ", replacing what was there" : "";
  return `Asked for ${moment(job.created_at)}${by}${replace}`;
}

function underway(view) {
  const { job } = view;
  if (view.problem) return view.problem;
  if (view.cancelling) return "Being cancelled. What is loaded already stays loaded.";
  if (job.state === "queued") {
    return view.ahead ? `Waiting: ${count(view.ahead, "job")} before it.` : "Waiting for its turn.";
  }
  const progress = job.progress ?? {};
  if (progress.step === "building") {
    return progress.nodes_total
      ? `Building and testing the tables: ${grouped(progress.nodes_done ?? 0)} of `
        + `${grouped(progress.nodes_total)} done.`
      : "Building and testing the tables.";
  }
  if (progress.step === "loading") {
    const file = progress.file ? ` ${safe(progress.file, 80)}` : "";
    const records = progress.records ? `: ${count(progress.records, "record")} so far` : "";
    const size = progress.bytes_total
      ? `, ${bytes(progress.bytes ?? 0)} of ${bytes(progress.bytes_total)}` : "";
    return `Loading${file}${records}${size}.`;
  }
  return "Starting.";
}

function measure(meter, progress) {
  const [value, total] = progress.step === "building"
    ? [progress.nodes_done, progress.nodes_total] : [progress.bytes, progress.bytes_total];
  if (total) {
    meter.max = total;
    meter.value = Math.min(value ?? 0, total);
  } else {
    meter.removeAttribute("value");
  }
}

function ended(job) {
  if (job.state === "cancelled") return "Cancelled. What had been loaded before stays loaded.";
  const parts = [];
  const files = job.result?.files ?? [];
  const loaded = files.filter((file) => file.state === "loaded");
  if (loaded.length) {
    const read = sum(loaded, "records_read");
    const apart = [["records_rejected", "line"], ["rows_rejected", "row"]]
      .filter(([name]) => sum(loaded, name)).map(([name, word]) => count(sum(loaded, name), word));
    parts.push(`${count(read, "record")} of ${count(loaded.length, "file")} loaded, `
      + `${apart.join(" and ") || "none"} rejected.`);
    const warnings = loaded.flatMap((file) => file.issues ?? [])
      .filter((issue) => issue.severity === "warning");
    if (warnings.length) parts.push(`${count(sum(warnings, "open_issues"), "warning")}.`);
  }
  const known = files.filter((file) => file.state === "known").length;
  if (known) parts.push(`${count(known, "file")} had been loaded already and changed nothing.`);
  for (const [id, status] of Object.entries(job.result?.loads ?? {})) {
    parts.push(`Load ${id} ${CHANGED[status] ?? words(status)}.`);
  }
  const build = job.result?.build;
  if (build) {
    const failed = build.failed ? `, ${grouped(build.failed)} failed` : "";
    const skipped = build.skipped ? `, ${grouped(build.skipped)} skipped` : "";
    parts.push(`${grouped(build.passed)} tables and tests passed${failed}${skipped}`
      + `${build.seconds ? `; ${duration(Number(build.seconds))}` : ""}.`);
  }
  if (!parts.length && job.state === "done") parts.push("Done.");
  return parts.join(" ");
}

const sum = (files, name) => files.reduce((all, file) => all + Number(file[name] ?? 0), 0);

function drawOutcome(place, view) {
  const { job } = view;
  const told = new Set(job.error?.problems ?? []);
  const files = (job.result?.files ?? []).map((file) => ({
    ...file, notes: (file.notes ?? []).filter((note) => !told.has(note)),
  }));
  // Drawn again only when it says something else, so that a reader is not interrupted.
  const key = JSON.stringify([files, job.error, job.result?.build?.failures, job.state]);
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  place.replaceChildren();
  if (job.error) {
    place.append(el("div", { className: "problem", role: "alert" },
      el("p", { className: "problem-title" }, safe(job.error.title ?? "It failed")),
      el("p", { className: "sentence" }, sentences(isRefused(job)
        ? onPage(job.error.detail) : job.error.detail ?? ""))));
  }
  const failures = job.result?.build?.failures ?? [];
  if (failures.length) {
    place.append(el("h4", {}, "What failed"), el("ul", { className: "failures" },
      ...failures.map((one) => el("li", {}, el("strong", {}, safe(one.name)), " ",
        el("span", { className: "sentence" }, sentences(one.message ?? ""))))));
  }
  // Of a file that was just refused the sentence above says all.
  if (files.some((file) => file.state !== "refused" || notes(file))) place.append(fileTable(files));
  if (job.state === "done") {
    place.append(el("p", { className: "next" },
      el("a", { href: "#overview" }, "See the result"), " ",
      el("a", { href: "#issues" }, "See what was rejected or questioned")));
  }
}

/** A sentence of the service may have lines; each line is made safe, the line ends stay. */
const sentences = (text) => String(text).split("\n").map((line) => safe(line, 2000)).join("\n");

function fileTable(files) {
  const row = (file) => el("tr", {},
    el("th", { scope: "row" }, el("bdi", {}, safe(file.file, 120)), notes(file)),
    el("td", {}, safe(words(file.input ?? "–"))),
    el("td", {}, OUTCOMES[file.state] ?? words(file.state)),
    el("td", { className: "number" }, file.records_read ?? "–"),
    el("td", { className: "number" }, file.records_rejected === undefined ? "–"
      : sum([file], "records_rejected") + sum([file], "rows_rejected")));
  const head = ["File", "Table", "Outcome", "Records read", "Rejected"].map((name, index) =>
    el("th", { scope: "col", className: index > 2 ? "number" : "" }, name));
  return el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Files" },
    el("table", {}, el("caption", { className: "unseen" }, "What came of each file"),
      el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...files.map(row))));
}

function notes(file) {
  const read = file.dialect ? [`read as ${file.dialect}`] : [];
  const examples = (file.rejected_examples ?? []).map((example) =>
    `line ${example.line}, ${words(example.rule)}: ${example.detail ?? ""}`);
  const issues = (file.issues ?? []).map((issue) =>
    `${count(issue.open_issues, issue.severity)}: ${words(issue.rule)}`
    + `${issue.remedy ? `; ${issue.remedy}` : ""}`);
  const lines = [...read, ...(file.notes ?? []), ...examples, ...issues];
  return lines.length
    ? el("ul", { className: "notes" }, ...lines.map((line) => el("li", {}, safe(line, 500))))
    : null;
}
