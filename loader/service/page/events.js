// A job's server-sent events. EventSource cannot send a token, so the stream is read by fetch;
// after a break it goes on behind the last event that was seen.

import { call, pause, Problem } from "./api.js";

const FINAL = new Set(["done", "failed", "cancelled"]);
const FIRST_WAIT = 500;
const LONGEST_WAIT = 10_000;
// The service sends a sign of life more often than this. A laptop that slept has dead connections
// that no error tells of.
const SILENCE = 45_000;

export const isFinal = (state) => FINAL.has(state);

/**
 * Follows a job to its end. `onEvent(name, data)` gets each event, `onConnection(is there)` each
 * change. Ends when the job has, or when `signal` aborts. Throws Problem if the service refuses.
 */
export async function follow(id, { onEvent, onConnection, signal, after = "" }) {
  let last = after;
  let wait = FIRST_WAIT;
  while (!signal.aborted) {
    const line = new AbortController();
    const stop = () => line.abort();
    signal.addEventListener("abort", stop, { once: true });
    try {
      const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
      const path = `v1/jobs/${encodeURIComponent(id)}/events`;
      const answer = await call(path, { headers, signal: line.signal });
      onConnection(true);
      for await (const event of events(answer.body, stop)) {
        wait = FIRST_WAIT;
        if (event.id) last = event.id;
        onEvent(event.name, event.data, last);
        if (event.name === "state" && isFinal(event.data.state)) return;
      }
    } catch (error) {
      // A busy or starting service is worth another try, a refusal is not.
      if (error instanceof Problem && error.status < 500) throw error;
    } finally {
      line.abort();
      signal.removeEventListener("abort", stop);
    }
    if (signal.aborted) return;
    onConnection(false);
    // Not all pages at once after a restart.
    await pause(wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

/** The events of a stream of bytes. */
async function* events(body, stop) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const watchdog = setTimeout(stop, SILENCE);
    const { done, value } = await reader.read().finally(() => clearTimeout(watchdog));
    if (done) return;
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parsed(block);
      if (event) yield event;
    }
  }
}

/** One event, or null for a comment. */
function parsed(block) {
  const fields = { event: "message", data: [], id: "" };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (name === "data") fields.data.push(value);
    else if (name) fields[name] = value;
  }
  if (!fields.data.length) return null;
  return { name: fields.event, id: fields.id, data: JSON.parse(fields.data.join("\n")) };
}
