// A file that was refused: what its header may mean, and loading it again, read in another way.

import { json, Problem, upload } from "./api.js";
import { el, field, freshId, problemBlock } from "./dom.js";
import { safe } from "./format.js";
import { label } from "./labels.js";
import { filesOf } from "./upload.js";

const OTHERWISE = {
  encoding: "Encoding, such as utf-8 or windows-1252",
  delimiter: "Between two cells: one character, tab or space",
  quote: "Quotation mark, or none",
  columns: "Names of the columns, where no line has them",
  sheet: "Sheet of the workbook",
};
// Of a job, and no options of an upload.
const OURS = new Set(["load_id", "together", "map"]);
const CHOICES = {
  replace: "Replace the rows that are there already",
  allow_empty: "Replace them even if these files bring none",
};
const ON_PAGE = { map: "Which column is which?", ...OTHERWISE, ...CHOICES };

/** A sentence that advises an option of the command, as one that advises what is on the page. */
export const onPage = (text) => String(text)
  .replace(/,? or add (it|their names) to `header_names` in _sources\.yml/g, "")
  .replace(/, say --map '[^']*'/g, ", or choose it below")
  .replace(/--([a-z]+(?:-[a-z]+)*)( [A-Z]+=[A-Z]+| none\b)?/g, (option, name, argument = "") => {
    const [words] = ON_PAGE[name.replace("-", "_")]?.split(/[:,]/) ?? [];
    return words ? `“${words}”${argument === " none" ? " none" : ""} below` : option;
  });

export const isRefused = (job) =>
  job.state === "failed" && String(job.error?.type).endsWith(":files-refused");

/** The form that loads the files of a refused job again; `onAccepted` gets the new job. */
export function remedy(job, onAccepted) {
  const headers = (job.error.headers ?? []).map(mapping);
  const others = Object.entries(OTHERWISE).map(([name, words]) => {
    const control = el("input", { id: freshId(name), name, autocomplete: "off" });
    control.value = job.options?.[name] ?? "";
    return field(words, control);
  });
  const boxes = Object.entries(CHOICES).map(([name, words]) => {
    const box = el("input", { type: "checkbox", id: freshId(name), name, value: "true" });
    box.checked = Boolean(job.options?.[name]);
    return el("div", { className: "box" }, box, el("label", { for: box.id }, words));
  });
  const otherwise = el("details", { open: !headers.length },
    el("summary", {}, "Read it in another way"), el("div", { className: "choices" }, ...others),
    ...boxes);
  const problem = el("div", { role: "alert" });
  const button = el("button", { type: "submit", className: "primary" }, "Load it again");
  const form = el("form", { className: "remedy", "aria-label": "Load it again" },
    ...headers.map((header) => header.root), otherwise, problem,
    el("div", { className: "actions" }, button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.replaceChildren();
    button.disabled = true;
    try {
      const maps = headers.flatMap((header) => header.chosen());
      onAccepted(await again(job, parametersOf(job, new FormData(form), maps)));
    } catch (error) {
      problem.append(problemBlock(error.title ?? "Not loaded", onPage(error.message)));
      button.focus();
    } finally {
      button.disabled = false;
    }
  });
  return form;
}

/** The cells of a refused header beside the columns that they may be. */
function mapping({ file, where, cells, proposals }) {
  const columns = el("div", { className: "choices" });
  const table = el("select", { id: freshId("table") },
    ...proposals.map(({ input }) => el("option", { value: input }, label(input))));
  const draw = () => {
    const proposal = proposals.find(({ input }) => input === table.value);
    columns.replaceChildren(...proposal.columns.map(({ column, required, cell }) => {
      const choice = el("select", { id: freshId("column"), required },
        el("option", { value: "" }, "– none –"),
        ...cells.map((name) => el("option", { value: name }, safe(name, 80) || "(no name)")));
      choice.dataset.column = column;
      choice.value = cell ?? "";
      return field(required ? column : `${column} (may be missing)`, choice);
    }));
  };
  table.addEventListener("change", draw);
  draw();
  const root = el("fieldset", {},
    el("legend", {}, `Which column is which in ${safe(file, 80)}${where ? `, ${where}` : ""}?`),
    el("p", { className: "hint" }, "Below each column of labmart stands the column of the file "
      + "that is closest to it. Choose what is meant; files with this header are read so from then "
      + "on."),
    proposals.length > 1 ? field("Kind of table", table) : null, columns);
  const chosen = () => [...columns.querySelectorAll("select")].filter((choice) => choice.value)
    // A line break in a cell is a blank.
    .map((choice) => `${choice.value.replace(/\p{Cc}+/gu, " ")}=${choice.dataset.column}`);
  return { root, chosen };
}

/** What the job was asked for, and what the form says otherwise. */
function parametersOf(job, form, maps) {
  const asked = new URLSearchParams();
  const { map } = job.options ?? {};
  // The form has the choices, also those that are not made.
  const options = Object.fromEntries(Object.entries(job.options ?? {})
    .filter(([name]) => !(name in CHOICES) && !OURS.has(name)));
  const said = { ...options, ...Object.fromEntries(form), map: maps.length ? maps : map };
  for (const [name, values] of Object.entries(said)) {
    for (const value of [values].flat()) {
      if (value !== null && value !== undefined && value !== "") asked.append(name, value);
    }
  }
  return asked;
}

/** Asks the service, which keeps the files for a while; else sends what the page still has. */
async function again(job, parameters) {
  try {
    return await json(`v1/jobs/${encodeURIComponent(job.id)}/retry?${parameters}`, {
      method: "POST",
    });
  } catch (error) {
    const files = filesOf(job.id);
    if (!(error instanceof Problem && error.status === 410 && files)) throw error;
    return upload(files, { parameters });
  }
}
