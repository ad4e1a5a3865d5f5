// The page's start, and the map of its modules:
//
// api         calls of the service; events: a job's server-sent events
// connection  whether the service answers; signin: the token
// upload      choosing and sending files
// jobs        the jobs and their events; job_card draws one
// results     the marts; overview: the charts (figures counts, charts draws)
// issues      what was rejected; history: the loads with undo and redo
// grid        a table with search, sorting and paging; filter: what is typed as a filter
// dialog      asking before something is done
// dom, format, labels   elements, values and names

import { json, listen } from "./api.js";
import { lost, reached, startConnection } from "./connection.js";
import { announce, byId, el, problemBlock } from "./dom.js";
import { refreshHistory, startHistory } from "./history.js";
import { refreshIssues } from "./issues.js";
import { pollNow, show, startJobs } from "./jobs.js";
import { refreshResults, startResults } from "./results.js";
import { askForToken, startSignIn, willingToSignIn } from "./signin.js";
import { startUpload } from "./upload.js";

async function refresh() {
  const [tables, loads] = await Promise.all([
    refreshResults({ build: buildSample, again: refresh }), refreshHistory(),
  ]);
  if (tables) await refreshIssues();
  else byId("issues-body").replaceChildren(el("p", { className: "empty" }, "Nothing to tell yet."));
  byId("sample").hidden = !(tables && loads === 0);
}

async function buildSample() {
  willingToSignIn();
  try {
    show(await json("v1/builds", { method: "POST" }));
  } catch (error) {
    byId("result-empty").prepend(problemBlock(error.title ?? "No answer", error.message));
  }
}

listen({ reached, lost, askForToken });
startConnection(refresh);
startSignIn(() => { announce("Signed out."); willingToSignIn(); pollNow(); refresh(); });
startUpload(show);
startResults();
startHistory(show);
startJobs(refresh);
refresh();
