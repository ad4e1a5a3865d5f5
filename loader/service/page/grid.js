// A table of a mart with search, sorting, choice of columns and paging, all done by the API: the
// page never holds more rows than it shows.

import { json, jsonOfBuild } from "./api.js";
import { announce, described, el, field, freshId, problemBlock } from "./dom.js";
import { filterOf, hint, inWords, isNumber } from "./filter.js";
import { cell, count, grouped } from "./format.js";
import { label } from "./labels.js";

const SIZES = [25, 50, 100];
const TYPING = 300;
// Characters from which on a text is a sentence and gets the room of one.
const LONG = 30;

/**
 * A table in `root` for a mart as the API describes it. `shown` are the columns seen at first,
 * `order` the sorting at first (`-total` is falling), `noun` what a row is, `empty` what is said
 * where there is none. `view` are the parameters of the API to begin with; `onQuery` gets those
 * that are shown, and those that an address needs. `base` are filters that nobody takes away.
 * `more` has columns that are not the mart's, each made `of` one that is, and `add` gives rows
 * their values. `leads` gives the address behind a value, by column.
 */
export function grid(root, mart, {
  shown, order = "", noun = "row", empty, onQuery, view = new URLSearchParams(), base = {},
  more = [], add, leads = {},
}) {
  const all = [...mart.columns, ...more];
  // What is seen at first stands first.
  const names = [...new Set([...shown ?? [], ...all.map((column) => column.name)])];
  const known = Object.fromEntries(all.map((column) => [column.name, column]));
  const type = Object.fromEntries(all.map((column) => [column.name, column.type]));
  const own = (name) => !more.includes(known[name]);
  const texts = mart.columns.some((column) => column.type === "text");
  const initial = [...shown ?? names];
  const state = {
    columns: new Set(initial), order, typed: "", fixed: [], size: SIZES[0],
    // The cursors of the pages before this one, so that there is a way back.
    cursors: [""], next: null, turn: 0, column: texts ? "" : names[0],
  };
  take(view);
  const caption = el("caption", { id: freshId("caption") });
  const head = el("tr");
  const body = el("tbody");
  const scroller = el("div", {
    className: "scroll", tabIndex: 0, role: "region", "aria-labelledby": caption.id,
  }, el("table", {}, caption, el("thead", {}, head), body));
  const trouble = el("div", { role: "alert" });
  const address = mart.rows_url.replace(/^\//, "");
  const badge = el("span", { className: "pill build", title: "The build that these rows are of" });
  const chips = el("ul", { className: "chips", "aria-label": "Filters" });
  const search = searchForm();
  const pages = pager();
  root.replaceChildren(search.root, chips, chooser(), trouble, scroller, pages.root);
  drawHead();
  drawChips();

  return { load, show };

  /** What an address asks for; names that the mart does not have are passed over. */
  function take(asked) {
    state.typed = texts ? asked.get("search") ?? "" : "";
    if (state.typed) state.column = "";
    state.order = asked.get("order") ?? order;
    const wanted = asked.get("select")?.split(",").filter((name) => known[name]) ?? [];
    state.columns = new Set(wanted.length ? wanted : initial);
    state.fixed = [...asked].filter(([name]) => known[name] && own(name));
  }

  /** Shows what an address asks for. */
  function show(asked) {
    take(asked);
    search.write();
    drawHead();
    drawChips();
    return restart();
  }

  /** What is shown, as parameters of the API; without columns and page. */
  function query() {
    const parameters = new URLSearchParams([...Object.entries(base), ...state.fixed]);
    const typed = state.typed.trim();
    if (typed && !state.column) parameters.set("search", typed);
    const filter = state.column ? filterOf(typed, type[state.column]) : "";
    if (filter) parameters.append(state.column, filter);
    if (state.order) parameters.set("order", state.order);
    return parameters;
  }

  /** The same as an address says it: only what is otherwise than at first. */
  function noted(parameters) {
    const kept = new URLSearchParams(parameters);
    for (const name of Object.keys(base)) kept.delete(name);
    if (state.order === order) kept.delete("order");
    const columns = names.filter((name) => state.columns.has(name));
    if (columns.join() !== initial.join()) kept.set("select", columns.join());
    return kept;
  }

  function drawChips() {
    chips.hidden = !state.fixed.length;
    chips.replaceChildren(...state.fixed.map((one) => {
      const [name, filter] = one;
      const words = `${label(name)} ${inWords(filter)}`;
      return el("li", {}, el("bdi", {}, words), el("button", {
        type: "button",
        className: "quiet",
        "aria-label": `Remove the filter ${words}`,
        onclick: () => {
          state.fixed = state.fixed.filter((other) => other !== one);
          drawChips();
          restart();
          search.focus();
        },
      }, "Remove"));
    }));
  }

  function restart() {
    state.cursors = [""];
    return load();
  }

  /** Reads the page anew. */
  async function load() {
    const turn = ++state.turn;
    let parameters;
    try {
      parameters = query();
      search.problem("");
    } catch (error) {
      search.problem(error.message);
      return;
    }
    onQuery?.(parameters, noted(parameters));
    const columns = names.filter((name) => state.columns.has(name));
    const keys = more.length ? mart.grain_columns : [];
    const asked = [...new Set([...keys, ...columns.filter(own), ...more.map(({ of }) => of)])];
    const counted = new URLSearchParams(parameters);
    parameters.set("select", asked.join());
    parameters.set("limit", state.size);
    const after = state.cursors.at(-1);
    if (after) parameters.set("after", after);
    scroller.setAttribute("aria-busy", "true");
    try {
      const { content, build } = await jsonOfBuild(`${address}?${parameters}`);
      if (add) await add(content.items).catch(() => {});
      // A later question has been asked meanwhile: its answer is the one that counts.
      if (turn !== state.turn) return;
      trouble.replaceChildren();
      state.next = content.next;
      badge.textContent = build ? `Build ${build}` : "";
      drawRows(content.items, columns);
      if (state.next !== null || after) await tellTotal(counted, turn);
    } catch (error) {
      if (turn !== state.turn) return;
      // A rebuilt table may have made the place in it void: then from the beginning.
      if (error.status === 422 && after) { restart(); return; }
      trouble.replaceChildren(problemBlock(error.title ?? "No answer", error.message,
        el("button", { type: "button", className: "secondary", onclick: load }, "Try again")));
    } finally {
      if (turn === state.turn) scroller.removeAttribute("aria-busy");
    }
  }

  /** How many rows fit in all comes later: a great table takes a while to count. */
  async function tellTotal(parameters, turn) {
    parameters.set("select", names.find(own));
    parameters.set("total", "true");
    parameters.set("limit", 1);
    parameters.delete("order");
    const { total } = await json(`${address}?${parameters}`);
    if (turn === state.turn) pages.total(total);
  }

  function drawHead() {
    const columns = names.filter((name) => state.columns.has(name));
    head.replaceChildren(...columns.map((name) => {
      const column = known[name];
      const button = !own(name) ? label(name) : el("button", {
        type: "button",
        title: (column.description ?? "").replaceAll("`", ""),
        onclick: () => sortBy(column.name),
      }, label(name), el("span", { className: "arrow", "aria-hidden": "true" }));
      const made = el("th", { scope: "col", className: align(column.name) }, button);
      made.dataset.column = column.name;
      return made;
    }));
    markOrder();
  }

  function markOrder() {
    for (const made of head.children) {
      const { column } = made.dataset;
      const rising = state.order === column;
      const falling = state.order === `-${column}`;
      if (rising || falling) made.setAttribute("aria-sort", rising ? "ascending" : "descending");
      else made.removeAttribute("aria-sort");
      if (!own(column)) continue;
      made.querySelector(".arrow").textContent = rising ? " ▲" : falling ? " ▼" : "";
    }
  }

  function sortBy(column) {
    // Numbers are asked for by their greatest first, names by the alphabet.
    const turns = isNumber(type[column]) ? [`-${column}`, column] : [column, `-${column}`];
    state.order = state.order === turns[0] ? turns[1] : turns[0];
    markOrder();
    const falling = state.order.startsWith("-");
    announce(`Sorted by ${label(column)}, ${falling ? "falling" : "rising"}.`);
    restart();
  }

  function align(column) {
    return isNumber(type[column]) ? "number" : "";
  }

  function drawRows(rows, columns) {
    const first = (state.cursors.length - 1) * state.size + 1;
    const last = first + rows.length - 1;
    const what = label(mart.name);
    caption.textContent = rows.length
      ? `${what}: ${noun}s ${first} to ${last}` : `${what}: no ${noun}`;
    body.replaceChildren(...rows.map((row) => el("tr", {}, ...columns.map((column, index) => {
      const words = cell(row[column], type[column]);
      const held = el("bdi", { className: words.length > LONG ? "long" : "" }, words);
      const href = row[column] === null ? undefined : leads[column]?.(row[column]);
      const text = href ? el("a", { href }, held) : held;
      const className = align(column);
      return index ? el("td", { className }, text) : el("th", { scope: "row", className }, text);
    }))));
    if (!rows.length) {
      const sought = state.typed.trim() || state.fixed.length;
      body.append(el("tr", {}, el("td", { className: "none", colspan: columns.length },
        sought ? `No ${noun} fits.` : empty)));
    }
    pages.update(rows.length, first, last);
  }

  function searchForm() {
    const id = freshId("search");
    const problem = el("p", { className: "problem-line", id: freshId("problem"), role: "alert" });
    const input = el("input", {
      type: "search", id, "aria-describedby": problem.id, value: state.typed,
      oninput: () => {
        clearTimeout(input.timer);
        input.timer = setTimeout(() => { state.typed = input.value; restart(); }, TYPING);
      },
    });
    const column = el("select", {
      id: freshId("column"),
      onchange: () => {
        state.column = column.value;
        input.placeholder = hint(type[state.column]);
        if (state.typed) restart();
      },
    }, texts ? el("option", { value: "" }, "all texts") : null,
    ...names.filter(own).map((name) => el("option", { value: name }, label(name))));
    const write = () => {
      input.value = state.typed;
      column.value = state.column;
      input.placeholder = hint(type[state.column]);
    };
    write();
    const made = el("form", {
      className: "search", role: "search", "aria-label": `Search in ${label(mart.name)}`,
      onsubmit: (event) => { event.preventDefault(); state.typed = input.value; restart(); },
    },
    field("Search for", input), field("in", column), badge, problem);
    const tell = (sentence) => {
      problem.textContent = sentence;
      input.setAttribute("aria-invalid", String(Boolean(sentence)));
    };
    return { root: made, problem: tell, write, focus: () => input.focus() };
  }

  function chooser() {
    const boxes = names.map((name) => known[name]).map((column) => {
      const id = freshId("box");
      const meaning = el("p", { className: "hint", id: `${id}-meaning` },
        ...described(column.description));
      const box = el("input", {
        type: "checkbox",
        id,
        "aria-describedby": meaning.id,
        checked: state.columns.has(column.name),
        onchange: (event) => {
          if (event.target.checked) state.columns.add(column.name);
          // A table without a column is none.
          else if (state.columns.size > 1) state.columns.delete(column.name);
          else event.target.checked = true;
          drawHead();
          load();
        },
      });
      const name = el("label", { for: id }, label(column.name), " ",
        own(column.name) ? el("code", {}, column.name) : null);
      return el("div", { className: "box" }, box, el("div", {}, name, meaning));
    });
    return el("details", { className: "columns" }, el("summary", {}, "Columns and what they mean"),
      el("fieldset", {}, el("legend", { className: "unseen" }, "Columns to show"), ...boxes));
  }

  function pager() {
    const place = el("p", { className: "place" });
    const back = el("button", { type: "button", className: "secondary" }, "Previous");
    const on = el("button", { type: "button", className: "secondary" }, "Next");
    // Not `disabled`: a button that is disabled under a person's focus loses it.
    const can = (button, is) => button.setAttribute("aria-disabled", String(!is));
    const is = (button) => button.getAttribute("aria-disabled") === "false";
    back.addEventListener("click", () => { if (is(back)) { state.cursors.pop(); turned(); } });
    on.addEventListener("click", () => {
      if (is(on)) { state.cursors.push(state.next); turned(); }
    });
    const sizes = el("select", {
      id: freshId("size"), onchange: () => { state.size = Number(sizes.value); restart(); },
    }, ...SIZES.map((size) => el("option", { value: size }, size)));
    const sizing = field("Rows per page", sizes);
    const turning = el("div", { className: "actions" }, back, on);
    const turned = async () => {
      can(back, false);
      can(on, false);
      await load();
      announce(place.textContent);
    };
    let span = "";
    const total = (all) => { place.textContent = `${span} of ${count(all, noun)}`; };
    const update = (rows, first, last) => {
      can(back, state.cursors.length > 1);
      can(on, state.next !== null);
      const all = state.next === null && state.cursors.length === 1;
      turning.hidden = all;
      sizing.hidden = all && rows <= SIZES[0];
      span = `${grouped(first)} to ${grouped(last)}`;
      place.textContent = !rows ? "" : all ? `All ${count(rows, noun)}` : span;
    };
    const made = el("nav", { className: "pager", "aria-label": `Pages of ${label(mart.name)}` },
      place, sizing, turning);
    return { root: made, update, total };
  }
}
