// Numbers for the charts out of whole marts. A column is read as a stream of CSV and reduced while
// it arrives, so that a laboratory of 100,000 users costs a few numbers, not as many objects.

import { call } from "./api.js";

// What a page may read to draw a picture. Beyond it the picture says that it shows the first rows.
export const MOST_ROWS = 200_000;

/**
 * Calls `onRow` with the cells of each row, as text. Whether all rows were read; false if there
 * were more than MOST_ROWS. `filters` are those of the API.
 */
export async function readColumns(mart, columns, onRow, filters = {}) {
  const parameters = new URLSearchParams({
    select: columns.join(), format: "csv", formulas: "keep", ...filters,
  });
  let rows = 0;
  const stop = new AbortController();
  const answer = await call(`v1/marts/${mart}?${parameters}`, { signal: stop.signal });
  let header = true;
  let begun = "";
  for await (const line of lines(answer.body)) {
    if (header) { header = false; continue; }
    begun += line;
    // A line break within quotes is part of a cell.
    if (begun.split('"').length % 2 === 0) { begun += "\n"; continue; }
    if (rows === MOST_ROWS) { stop.abort(); return false; }
    rows += 1;
    onRow(cells(begun));
    begun = "";
  }
  return true;
}

/** The cells of a record of CSV. */
function cells(record) {
  if (!record.includes('"')) return record.split(",");
  return [...record.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)]
    .map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain);
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
      yield* all;
    }
    if (rest) yield rest;
  } finally {
    // Whoever stops asking wants no more bytes either.
    reader.cancel().catch(() => {});
  }
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

/**
 * Whole numbers counted in steps that double: 0, 1, 2 to 3, 4 to 7, … So few users with very many
 * experiments do not push all others into one column.
 */
export function doublings(numbers) {
  const step = (number) => (number < 1 ? 0 : Math.floor(Math.log2(number)) + 1);
  const steps = Math.max(...numbers.map(step)) + 1;
  const bins = Array.from({ length: steps }, (_, index) => ({
    from: index && 2 ** (index - 1), to: 2 ** index, count: 0, open: false,
  }));
  for (const number of numbers) bins[step(number)].count += 1;
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
