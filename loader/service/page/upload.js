// Choosing files, by drop, by the chooser or by the keyboard, and sending them as one load.

import { upload, Problem } from "./api.js";
import { byId, el, announce, problemBlock } from "./dom.js";
import { bytes, count, safe } from "./format.js";
import { willingToSignIn } from "./signin.js";

// More than a laboratory drops at once; a whole disk dropped by mistake is not walked through.
const MOST_FILES = 500;

let files = [];
// The same for a second try of the same files: if the first was accepted and only its answer was
// lost, the service gives its job instead of a second one.
let key = "";
let sending = null;
// What was sent for which job, in case it is refused and has to be sent again.
const sent = new Map();
export const filesOf = (id) => sent.get(id);
let onAccepted = () => {};

export function startUpload(accepted) {
  onAccepted = accepted;
  byId("chooser").addEventListener("change", (event) => {
    stage([...event.target.files]);
    // Choosing the same file again is a change again.
    event.target.value = "";
  });
  byId("choose").addEventListener("click", () => byId("chooser").click());
  byId("clear").addEventListener("click", () => { clear(); byId("chooser").focus(); });
  byId("upload").addEventListener("change", renew);
  byId("upload").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  byId("stop-sending").addEventListener("click", () => sending?.abort());
  startDrop();
}

function startDrop() {
  const zone = byId("drop");
  let depth = 0;
  const over = (is) => zone.classList.toggle("over", is);
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  // The whole page takes the drop: a file that misses the zone must not replace the page.
  addEventListener("dragenter", (event) => {
    if (carriesFiles(event)) { depth += 1; over(true); }
  });
  addEventListener("dragleave", (event) => {
    if (carriesFiles(event)) { depth -= 1; over(depth > 0); }
  });
  addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
  addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    over(false);
    stage(await dropped(event.dataTransfer));
  });
}

/** The files of a drop, those in folders too. */
async function dropped(transfer) {
  // The entries are only there until the first wait.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  while (entries.length && found.length <= MOST_FILES) {
    const entry = entries.shift();
    // Hidden files are the computer's, not the laboratory's.
    if (entry.name.startsWith(".")) continue;
    if (entry.isFile) found.push(await new Promise((done, fail) => entry.file(done, fail)));
    else entries.push(...await entriesOf(entry));
  }
  return found;
}

async function entriesOf(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return all;
    all.push(...some);
  }
}

function renew() {
  key = crypto.randomUUID?.() ?? `page-${Date.now()}-${Math.random()}`;
}

function stage(more) {
  if (sending || !more.length) return;
  byId("upload-problem").replaceChildren();
  // A file that is chosen again takes the place of the earlier one of its name.
  const names = new Set(more.map((file) => file.name));
  const all = [...files.filter((file) => !names.has(file.name)), ...more];
  if (all.length > MOST_FILES) {
    fail("Too many files", `Up to ${MOST_FILES} files can be loaded at once.`);
    return;
  }
  const twice = more.find((file, index) => more.findIndex((o) => o.name === file.name) < index);
  if (twice) {
    fail("Two files of one name", `${safe(twice.name)} is there twice, in different folders. `
      + "Load them one after the other, or give one of them another name.");
    return;
  }
  files = all;
  show();
  byId("staged-title").focus({ preventScroll: true });
  byId("staged").scrollIntoView({ block: "nearest" });
  announce(`${count(files.length, "file")} ready to load.`);
}

function show() {
  renew();
  byId("staged").hidden = !files.length;
  byId("upload").classList.toggle("chosen", files.length > 0);
  byId("staged-files").replaceChildren(...files.map((file) => el("li", {},
    el("bdi", { className: "name" }, safe(file.name, 120)),
    el("span", { className: "size" }, bytes(file.size)),
    el("button", {
      type: "button",
      className: "quiet",
      "aria-label": `Remove ${safe(file.name, 120)}`,
      onclick: () => {
        files = files.filter((other) => other !== file);
        show();
        (files.length ? byId("staged-title") : byId("chooser")).focus();
      },
    }, "Remove"))));
  byId("send").textContent = `Load ${count(files.length, "file")}`;
}

function clear() {
  files = [];
  show();
}

async function send() {
  if (!files.length || sending) return;
  willingToSignIn();
  sending = new AbortController();
  byId("upload-problem").replaceChildren();
  busy(true);
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const meter = byId("sent");
  const words = byId("sending-text");
  const onProgress = (loaded, all) => {
    meter.max = all || 1;
    meter.value = loaded;
    words.textContent = loaded < all
      ? `Uploading ${bytes(Math.min(loaded, total))} of ${bytes(total)}`
      : "Uploaded. The service is storing it.";
  };
  onProgress(0, total || 1);
  byId("stop-sending").focus();
  announce("Uploading.");
  try {
    const replace = new FormData(byId("upload")).get("mode") === "replace";
    const parameters = new URLSearchParams({ replace });
    const job = await upload(files, { parameters, key, onProgress, signal: sending.signal });
    sent.set(job.id, files);
    clear();
    byId("upload").reset();
    onAccepted(job);
  } catch (error) {
    if (error.name === "AbortError") {
      fail("Stopped", "The upload was stopped. Nothing of it was loaded.");
    } else if (error instanceof Problem) {
      fail(error.title, error.message);
    } else {
      fail("Not uploaded", `${error.message} Your choice of files is kept, to try again.`);
    }
  } finally {
    sending = null;
    busy(false);
    if (files.length) byId("send").focus();
  }
}

function busy(is) {
  byId("sending").hidden = !is;
  byId("drop").hidden = is;
  byId("staged").hidden = is || !files.length;
}

function fail(title, detail) {
  byId("upload-problem").replaceChildren(problemBlock(title, detail));
}
