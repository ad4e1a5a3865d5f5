// What a person types into a search, as a filter of the API.

import { safe } from "./format.js";

const COMPARISONS = { ">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "=": "eq", "": "eq" };

export const isNumber = (type) => /int|^numeric|^decimal|^double|^real/.test(type);
const isDate = (type) => /^date|^timestamp/.test(type);

/** How one searches in a column of this type, in words. */
export function hint(type = "text") {
  if (isNumber(type)) return "a number, or > 5, <= 20";
  if (isDate(type)) return "a day such as 2024-05-31, or > 2024-05-31";
  if (type === "boolean") return "yes or no";
  return "part of the text";
}

const WORDS = {
  eq: "is", neq: "is not", gt: ">", gte: "≥", lt: "<", lte: "≤", ilike: "has", like: "has",
  in: "is one of", is: "is empty", not: "is not empty",
};

/** A filter of the API in words: `eq.7` is `is 7`. */
export function inWords(filter) {
  const [, operator, value] = /^([a-z]+)\.(.*)$/s.exec(filter) ?? [];
  if (!Object.hasOwn(WORDS, operator ?? "")) return safe(filter, 60);
  const shown = value === "null" ? "" : value.replace(/^\*|\*$/g, "");
  return `${WORDS[operator]} ${safe(shown, 60)}`.trim();
}

/**
 * The filter for `typed`, "" for none. Throws Error with a sentence where the column has no such
 * values.
 */
export function filterOf(typed, type) {
  const text = typed.trim();
  if (!text) return "";
  if (type === "boolean") {
    const answer = { yes: "true", no: "false", true: "true", false: "false" }[text.toLowerCase()];
    if (!answer) throw new Error("Type yes or no.");
    return `eq.${answer}`;
  }
  if (!isNumber(type) && !isDate(type)) return `ilike.*${text}*`;
  const [, sign, value] = /^(>=|<=|>|<|=|)\s*(.*)$/s.exec(text);
  const fits = isNumber(type) ? /^-?\d+(\.\d+)?$/ : /^\d{4}-\d\d-\d\d$/;
  if (!fits.test(value)) throw new Error(`Type ${hint(type)}.`);
  return `${COMPARISONS[sign]}.${value}`;
}
