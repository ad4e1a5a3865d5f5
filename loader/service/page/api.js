// Calls of the service: addresses are relative, so that the page also works below a path.

const TOKEN = "labmart-token";

/** An answer that is no success: `detail` is the service's own sentence. */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(body.detail || body.title || `The service answered with status ${status}.`);
    this.status = status;
    this.title = body.title || `Status ${status}`;
    this.body = body;
  }
}

/** No answer at all. */
export class Unreachable extends Error {
  constructor() {
    super("The service cannot be reached. It may be stopped or starting again, or the network is "
      + "away.");
  }
}

// What the rest of the page wants to know of every call; set once by app.js.
const hooks = { reached: () => {}, lost: () => {}, askForToken: async () => false };
export const listen = (wanted) => Object.assign(hooks, wanted);

export const token = {
  // Only for this tab and only until it is closed: another person's browser session has none.
  get: () => sessionStorage.getItem(TOKEN),
  set: (text) => sessionStorage.setItem(TOKEN, text),
  forget: () => sessionStorage.removeItem(TOKEN),
};

/** One call; its answer, if it is a success. Throws Problem, Unreachable, or AbortError. */
export async function call(path, { method = "GET", headers = {}, body, signal } = {}) {
  for (;;) {
    const held = token.get();
    let answer;
    try {
      // `no-cache` asks anew each time; an unchanged table costs a 304 by its ETag.
      answer = await fetch(path, {
        method, body, signal, headers: withToken(headers, held), cache: "no-cache",
        redirect: "error",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      hooks.lost();
      throw new Unreachable();
    }
    hooks.reached();
    if (answer.ok) return answer;
    if (answer.status === 401 && await hooks.askForToken(held)) continue;
    throw new Problem(answer.status, await problemOf(answer));
  }
}

/** One call whose answer is JSON. */
export async function json(path, options = {}) {
  return (await jsonOfBuild(path, options)).content;
}

/** The same, with the number of the build that its rows are of; null if nothing says so. */
export async function jsonOfBuild(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  const answer = await call(path, { ...options, headers });
  return { content: exact(await answer.text()), build: answer.headers.get("Labmart-Build") };
}

/** All rows of a mart that fit the parameters. */
export async function rowsOf(mart, parameters) {
  const asked = new URLSearchParams({ limit: 0, ...parameters });
  return (await json(`v1/marts/${mart}?${asked}`)).items;
}

/** A filter for any of the values; as many as a list can hold. */
export const anyOf = (values) =>
  `in.(${[...new Set(values)].slice(0, 1000).join()})`;

/** JSON in which a number that JavaScript would round is kept as its digits. */
export function exact(text) {
  return JSON.parse(text, (key, value, context) => {
    const digits = context?.source;
    return typeof value === "number" && digits && String(value) !== digits ? digits : value;
  });
}

/** Sends files in one request and tells the bytes sent, which fetch would not. */
export async function upload(files, { parameters, key, onProgress = () => {}, signal }) {
  const body = new FormData();
  for (const file of files) body.append("file", file, file.name);
  for (;;) {
    const held = token.get();
    const answer = await send(`v1/files?${parameters}`, body, { key, held, onProgress, signal });
    hooks.reached();
    if (answer.status < 300) return exact(answer.text);
    if (answer.status === 401 && await hooks.askForToken(held)) continue;
    throw new Problem(answer.status, parsed(answer.text));
  }
}

function send(path, body, { key, held, onProgress, signal }) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    const own = key ? { "Idempotency-Key": key } : {};
    const headers = withToken({ Accept: "application/json", ...own }, held);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    request.onload = () => done({ status: request.status, text: request.responseText });
    request.onerror = () => brokenOff().then(fail);
    request.onabort = () => fail(new DOMException("The upload was stopped.", "AbortError"));
    signal?.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

/** Why an upload got no answer: nobody is there, or the service ended it before its end. */
async function brokenOff() {
  try {
    await call("health/live");
  } catch (error) {
    return error;
  }
  return new Error("The service is there, but the connection broke off while the files were sent. "
    + "Nothing was loaded. It happens when a file is greater than the service accepts.");
}

/** A link that downloads. With a token the browser cannot follow it by itself. */
export async function download(path, name) {
  const content = await (await call(path)).blob();
  const address = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  // The browser has opened the content by then.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function withToken(headers, held) {
  return held ? { ...headers, Authorization: `Bearer ${held}` } : headers;
}

async function problemOf(answer) {
  try {
    return parsed(await answer.text());
  } catch {
    return {};
  }
}

function parsed(text) {
  try {
    const body = JSON.parse(text);
    return body && typeof body === "object" ? body : {};
  } catch {
    return {};
  }
}
