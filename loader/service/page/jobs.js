// The jobs: which there are, and how far the one is that goes on.

import { call, json, Problem, Unreachable } from "./api.js";
import { byId, el, announce } from "./dom.js";
import { moment } from "./format.js";
import { card, isFinal, title, STATES } from "./job_card.js";
import { hasDeclined } from "./signin.js";

// Milliseconds between two looks at all jobs, and at the one that goes on.
const POLL = 5_000;
const PACE = 1_000;
const MOST_EARLIER = 20;

// By id: {job, cancelling, problem, card}.
const views = new Map();
// Finished jobs that are shown as a card all the same: those that finished before a person's eyes.
const kept = new Set();
let listed = 0;
let onFinished = () => {};
// Jobs whose end has led to a new look at the tables; null before the first list of jobs, when all
// tables are read anyway.
let counted = null;

export function startJobs(finished) {
  onFinished = finished;
  poll();
  document.addEventListener("visibilitychange", poll);
}

/** A job that this page has asked for. */
export function show(job) {
  kept.add(job.id);
  take(job);
  draw();
  byId("jobs-title").focus({ preventScroll: true });
  byId("jobs").scrollIntoView({ block: "start" });
  announce(`${title(job)}: ${STATES[job.state].toLowerCase()}.`);
  poll();
}

/** Asks for the jobs once. */
async function refreshJobs() {
  const { items } = await json(`v1/jobs?limit=${MOST_EARLIER}`);
  listed = Date.now();
  for (const job of items) take(job);
  // A service that was set up anew does not know the jobs of the old one.
  const known = new Set(items.map((job) => job.id));
  for (const [id, view] of views) {
    if (known.has(id) || isFinal(view.job.state)) continue;
    await ask(id);
  }
  // The end of a job that this page has never seen running changes the tables as well.
  const ended = items.filter((job) => isFinal(job.state)).map((job) => job.id);
  if (counted && ended.some((id) => !counted.has(id))) onFinished();
  counted = new Set([...counted ?? [], ...ended]);
}

async function poll() {
  clearTimeout(poll.timer);
  if (document.hidden) return;
  try {
    const [next] = active();
    if (!hasDeclined()) {
      await (next && Date.now() - listed < POLL ? ask(next.job.id) : refreshJobs());
      draw();
    }
  } catch {
    // connection.js tells that nobody answers; the next turn tries again.
  }
  clearTimeout(poll.timer);
  poll.timer = setTimeout(poll, active().length ? PACE : POLL);
}

export const pollNow = poll;

async function ask(id) {
  try {
    take(await json(`v1/jobs/${encodeURIComponent(id)}`));
  } catch (error) {
    if (error instanceof Problem && error.status === 404) {
      views.delete(id);
      kept.delete(id);
      announce("A job is not known to the service any more.");
    }
  }
}

function take(job) {
  const view = views.get(job.id);
  if (!view) {
    views.set(job.id, { job });
    return;
  }
  // An answer that was on its way while the job ended is older than the end.
  if (isFinal(view.job.state) && !isFinal(job.state)) return;
  const ended = !isFinal(view.job.state) && isFinal(job.state);
  view.job = { ...view.job, ...job };
  if (ended) finish(view);
}

function finish(view) {
  kept.add(view.job.id);
  counted?.add(view.job.id);
  announce(`${title(view.job)}: ${STATES[view.job.state].toLowerCase()}.`);
  onFinished();
}

/** The job that runs, then those that wait. */
const active = () => [...views.values()].filter((view) => !isFinal(view.job.state)).sort(byTurn);

const byTurn = (one, other) =>
  (other.job.state === "running") - (one.job.state === "running")
  || String(one.job.created_at).localeCompare(String(other.job.created_at));

function draw() {
  const all = [...views.values()];
  const waiting = active();
  const over = all.filter((view) => isFinal(view.job.state))
    .sort((one, other) => String(other.job.created_at).localeCompare(String(one.job.created_at)));
  const seen = over.filter((view) => kept.has(view.job.id));
  waiting.forEach((view, index) => { view.ahead = index; });
  const place = byId("job-cards");
  const cards = [...waiting, ...seen].map((view) => {
    view.card ??= card({
      onCancel: () => cancel(view), onClose: () => close(view), onAgain: show,
    });
    view.card.update(view);
    return view.card.root;
  });
  // Only what changed is moved, so that the focus stays where it is.
  cards.forEach((root, index) => {
    if (place.children[index] !== root) place.insertBefore(root, place.children[index] ?? null);
  });
  while (place.children.length > cards.length) place.lastChild.remove();
  drawEarlier(over.filter((view) => !kept.has(view.job.id)).slice(0, MOST_EARLIER));
  byId("jobs").hidden = !all.length;
  // Nothing goes on: no room for it, only a way to what was.
  byId("jobs").classList.toggle("idle", !cards.length);
  byId("jobs-title").classList.toggle("unseen", !cards.length);
}

function drawEarlier(rows) {
  byId("earlier").hidden = !rows.length;
  const key = rows.map((view) => view.job.id + view.job.state).join();
  if (drawEarlier.key === key) return;
  drawEarlier.key = key;
  byId("earlier-jobs").replaceChildren(...rows.map((view) => el("li", {},
    el("span", { className: "pill", "data-state": view.job.state }, STATES[view.job.state]),
    el("bdi", { className: "name" }, title(view.job)),
    el("span", { className: "size" }, moment(view.job.finished_at)),
    el("button", {
      type: "button",
      className: "quiet",
      "aria-label": `Show ${title(view.job)}`,
      onclick: () => show(view.job),
    }, "Show"))));
}

async function cancel(view) {
  try {
    const path = `v1/jobs/${encodeURIComponent(view.job.id)}/cancel`;
    const answer = await call(path, { method: "POST" });
    take(await answer.json());
    view.cancelling = true;
  } catch (error) {
    if (!(error instanceof Problem || error instanceof Unreachable)) throw error;
    view.problem = error.message;
  }
  draw();
}

function close(view) {
  kept.delete(view.job.id);
  draw();
  byId("jobs-title").focus();
}
