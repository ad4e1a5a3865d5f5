// The page's start, and the map of its modules:
//
// api         calls of the service
// connection  whether the service answers; signin: the token
// upload      choosing and sending files
// jobs        the jobs and how far they are; job_card draws one; refused: loading it in another way
// published   the first screen: what is published, and whether to trust it
// results     the marts; overview: the charts (figures counts, charts draws)
// address     what is looked at, kept in the address
// issues      what was rejected; history: the loads with undo and redo
// grid        a table with search, sorting and paging; filter: what is typed as a filter
// dialog      asking before something is done
// dom, format, labels   elements, values and names

import { json, listen } from "./api.js";
import { startAddress } from "./address.js";
import { lost, reached, startConnection } from "./connection.js";
import { announce, byId, problemBlock } from "./dom.js";
import { refreshHistory, startHistory } from "./history.js";
import { openAddressedIssues, refreshIssues, withoutIssues } from "./issues.js";
import { pollNow, show, startJobs } from "./jobs.js";
import { refreshPublished, withoutPublished } from "./published.js";
import { openAddressed, refreshResults, startResults } from "./results.js";
import { askForToken, startSignIn, willingToSignIn } from "./signin.js";
import { startUpload } from "./upload.js";

let refreshing = null;
let onceMore = false;

/** Reads everything anew. Asked again meanwhile, it does so once more, not at the same time. */
function refresh() {
  onceMore = refreshing !== null;
  refreshing ??= everything().finally(() => {
    refreshing = null;
    if (onceMore) refresh();
  });
  return refreshing;
}

async function everything() {
  const actions = { build: buildTables, again: tryAgain };
  const [tables, loads] = await Promise.all([
    refreshResults(actions), refreshHistory(), refreshPublished(buildTables),
  ]);
  if (tables) {
    await refreshIssues();
  } else if (tables === false) {
    withoutPublished();
    withoutIssues();
  }
  byId("sample").hidden = !(tables && loads === 0);
}

function tryAgain() {
  willingToSignIn();
  pollNow();
  refresh();
}

async function buildTables() {
  willingToSignIn();
  try {
    show(await json("v1/builds", { method: "POST" }));
  } catch (error) {
    byId("banner").replaceChildren(problemBlock(error.title ?? "No answer", error.message));
  }
}

/** Shows what a link within the page asks for, and goes there. */
function openLinked() {
  openAddressed();
  openAddressedIssues();
  const part = byId(location.hash.slice(1));
  part?.scrollIntoView();
  part?.focus({ preventScroll: true });
}

listen({ reached, lost, askForToken });
startAddress(openLinked);
startConnection(refresh);
startSignIn(() => { announce("Signed out."); tryAgain(); });
startUpload(show);
startResults();
startHistory(show);
startJobs(refresh);
// The part that the address names is where it will be once all is drawn.
const asked = location.hash;
refresh().then(() => {
  if (asked && asked === location.hash) byId(asked.slice(1))?.scrollIntoView();
});
