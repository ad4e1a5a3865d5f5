// What is looked at, kept in the address, so that it can be sent to somebody: `table` and the
// filters of the API for the tables, the same behind `issue.` for the issues.

/** The parameters of a view; those of the issues behind `issue.`. */
export function viewOf(prefix = "") {
  const all = [...new URLSearchParams(location.search)];
  const own = prefix ? all.filter(([name]) => name.startsWith(prefix))
    : all.filter(([name]) => !name.includes("."));
  return new URLSearchParams(own.map(([name, value]) => [name.slice(prefix.length), value]));
}

/** Notes a view in the address; the other one stays. */
export function noteView(view, prefix = "") {
  const others = [...new URLSearchParams(location.search)]
    .filter(([name]) => (prefix ? !name.startsWith(prefix) : name.includes(".")));
  const own = [...view].map(([name, value]) => [prefix + name, value]);
  const search = new URLSearchParams([...others, ...own]).toString();
  history.replaceState(null, "", (search ? `?${search}` : location.pathname) + location.hash);
}

/** The address of a view of the part with this id. */
export function addressOf(view, prefix = "", part = "tables") {
  const own = Object.entries(view).map(([name, value]) => [prefix + name, value]);
  return `?${new URLSearchParams(own)}#${part}`;
}

/** Follows links to views without loading the page anew; `open` reads the address. */
export function startAddress(open) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="?"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, "", link.getAttribute("href"));
    open();
  });
  addEventListener("popstate", open);
}
