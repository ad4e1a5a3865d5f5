// Whether the service answers, told in words at the top of the page.

import { byId, announce } from "./dom.js";
import { clock } from "./format.js";

let state = "waiting";
let since = new Date();
let onBack = () => {};

/** `back` is called when the service answers again after it did not. */
export function startConnection(back) {
  onBack = back;
  addEventListener("offline", lost);
}

export function reached() {
  if (state === "reached") return;
  const before = state;
  state = "reached";
  byId("banner").replaceChildren();
  show("Connected");
  if (before === "lost") {
    announce("The service answers again.");
    onBack();
  }
}

export function lost() {
  if (state === "lost") return;
  state = "lost";
  since = new Date();
  show("No connection");
  const words = document.createElement("p");
  words.className = "banner";
  words.textContent = `No connection to the service since ${clock(since)}. It may be stopped or `
    + "starting again, or the network is away. This page tries again by itself; what it shows is "
    + "how things stood then. What the service has accepted is not lost.";
  byId("banner").replaceChildren(words);
}

function show(words) {
  const place = byId("connection");
  place.dataset.state = state;
  place.textContent = words;
}
