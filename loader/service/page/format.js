// Values as a person reads them.

// Characters that are not seen, or that turn the direction of what follows: a file name must not
// look like another one. The joiners U+200C and U+200D stay, since scripts need them.
const UNSEEN = new RegExp("[\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200b\\u200e\\u200f"
  + "\\u2028-\\u202e\\u2066-\\u2069\\ufeff]", "g");
const LONGEST = 300;

/** Any text, safe to look at: unseen characters are shown by their number, length is bounded. */
export function safe(text, longest = LONGEST) {
  const all = String(text);
  // Cut by characters, not in the middle of one that takes two code units.
  const cut = all.length > longest ? [...all.slice(0, longest + 1)].slice(0, -1).join("") : all;
  const shown = cut.replace(UNSEEN, (one) =>
    `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  return all.length > longest ? `${shown}… (${grouped(all.length)} characters)` : shown;
}

/** A number with its thousands apart. */
export const grouped = (number) => Number(number).toLocaleString("en-GB");

/** `1 file`, `3 files`. */
export function count(number, one, many = `${one}s`) {
  return `${grouped(number)} ${Number(number) === 1 ? one : many}`;
}

export function bytes(number) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let value = number;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
}

const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "short" });

/** A moment in this place's time; today's without its date. */
export function moment(iso) {
  const then = new Date(iso);
  if (!iso || Number.isNaN(then.getTime())) return "–";
  const today = then.toDateString() === new Date().toDateString();
  return today ? `today, ${CLOCK.format(then)}` : MOMENT.format(then);
}

export const clock = (date) => CLOCK.format(date);

/** Seconds as `9.4 s`, `3 min 20 s`. */
export function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** A number of a drawing: few digits, no trailing zeros. */
export const short = (number) => String(Number(number.toPrecision(4)));

/**
 * A cell of a mart. Decimals show two digits, as `labmart show` does; everything else is shown as
 * the engine wrote it. `value` is text, or a number's own digits.
 */
export function cell(value, type) {
  if (value === null || value === undefined) return "–";
  if (/^numeric|^decimal|^double|^real/.test(type)) return Number(value).toFixed(2);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return safe(value);
}
