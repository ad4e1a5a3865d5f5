// Numbers for the charts out of whole marts. A column is read as a stream of CSV and reduced while
// it arrives, so that a laboratory of 100,000 users costs a few numbers, not as many objects.

import { call } from "./api.js";

// What a page may read to draw a picture. Beyond it the picture says that it shows the first rows.
export const MOST_ROWS = 200_000;

/**
 * Calls `onLine` with each line of the columns, which hold numbers or plain names. Whether all rows
 * were read; false if there were more than MOST_ROWS.
 */
export async function readColumns(mart, columns, onLine, { order = "", signal } = {}) {
  const parameters = new URLSearchParams({ select: columns.join(), format: "csv" });
  if (order) parameters.set("order", order);
  let path = `v1/marts/${mart}?${parameters}`;
  let rows = 0;
  while (path) {
    const stop = new AbortController();
    const answer = await call(path, { signal: signal ?? stop.signal });
    let header = true;
    for await (const line of lines(answer.body)) {
      if (header) { header = false; continue; }
      if (rows === MOST_ROWS) { stop.abort(); return false; }
      rows += 1;
      // A writer of CSV may quote an empty cell that stands alone.
      onLine(line.replaceAll('"', ""));
    }
    path = nextOf(answer);
  }
  return true;
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const all = (rest + value).split("\n");
      rest = all.pop();
      for (const line of all) yield line.replace(/\r$/, "");
    }
    if (rest) yield rest;
  } finally {
    // Whoever stops asking wants no more bytes either.
    reader.cancel().catch(() => {});
  }
}

function nextOf(answer) {
  const [, next] = /<([^>]+)>\s*;\s*rel="?next"?/.exec(answer.headers.get("Link") ?? "") ?? [];
  if (!next) return "";
  const address = new URL(next, answer.url);
  // Elsewhere the token must not be sent.
  return address.origin === location.origin ? address.href : "";
}

/**
 * Numbers counted in equal steps: [{from, to, count, open}]. The last step is open where a few
 * numbers are so great that all others would share one bar. `whole`: the numbers are whole.
 */
export function histogram(numbers, { whole = false, most = 12 } = {}) {
  if (!numbers.length) return [];
  const sorted = Float64Array.from(numbers).sort();
  const greatest = sorted.at(-1);
  const usual = quantile(sorted, 0.99);
  const open = greatest > usual * 2;
  const reach = open ? usual : greatest;
  const step = niceStep((reach + (whole ? 1 : 0)) / most, whole);
  // Whole numbers from their own value on; of others the greatest belongs to the last step.
  const steps = Math.max(1, Math.floor(reach / step) + (whole || reach % step || !reach ? 1 : 0));
  const bins = Array.from({ length: steps }, (_, index) => ({
    from: index * step, to: (index + 1) * step, count: 0, open: open && index === steps - 1,
  }));
  for (const number of sorted) bins[Math.min(Math.floor(number / step), steps - 1)].count += 1;
  return bins;
}

/** The q-quantile of numbers in order, by linear interpolation. */
export function quantile(sorted, q) {
  const place = (sorted.length - 1) * q;
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

/** The next of 1, 2, 5, 10, 20, … */
function niceStep(least, whole) {
  const start = Math.max(least, whole ? 1 : 1e-6);
  const power = 10 ** Math.floor(Math.log10(start));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= start - 1e-12);
}
