// Asking before something is done.

import { byId } from "./dom.js";

/** Whether the person says yes. Escape and the second button mean no. */
export function confirmed({ title, text, yes }) {
  const dialog = byId("dialog");
  byId("dialog-title").textContent = title;
  byId("dialog-text").textContent = text;
  byId("dialog-yes").textContent = yes;
  let answer = false;
  byId("dialog-yes").onclick = () => { answer = true; dialog.close(); };
  byId("dialog-no").onclick = () => dialog.close();
  dialog.showModal();
  return new Promise((done) => { dialog.onclose = () => done(answer); });
}
