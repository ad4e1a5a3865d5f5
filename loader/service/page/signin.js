// Asking for a token when the service answers 401, and telling that one is held.

import { token } from "./api.js";
import { byId } from "./dom.js";

const PROBLEM = "The service does not accept this token. It may be mistyped, expired or revoked.";

// All calls that are refused at one time wait for one answer.
let asked = null;
// After «Not now» background calls do not open the dialog again; a person's own act does.
let declined = false;

/**
 * Whether it is worth calling again: a token was given, or has been since the call began.
 * `used` is the token that was refused, null for none.
 */
export function askForToken(used) {
  if (token.get() !== used) return Promise.resolve(true);
  if (declined) return Promise.resolve(false);
  asked ??= ask(used).finally(() => { asked = null; });
  return asked;
}

export function willingToSignIn() {
  declined = false;
}

export const hasDeclined = () => declined;

function ask(used) {
  const dialog = byId("signin");
  const field = byId("token");
  token.forget();
  showHeld();
  byId("signin-problem").textContent = used ? PROBLEM : "";
  field.value = "";
  dialog.showModal();
  field.focus();
  return new Promise((answer) => {
    dialog.onclose = () => {
      showHeld();
      declined = !token.get();
      answer(!declined);
    };
  });
}

export function startSignIn(onForgotten) {
  byId("signin-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = byId("token").value.trim();
    // What HTTP does not carry would fail without a sentence.
    if (!/^[\x21-\x7e]+$/.test(given)) {
      byId("signin-problem").textContent = PROBLEM;
      return;
    }
    token.set(given);
    byId("signin").close();
  });
  byId("signin-no").addEventListener("click", () => byId("signin").close());
  byId("forget").addEventListener("click", () => {
    token.forget();
    showHeld();
    onForgotten();
  });
  showHeld();
}

function showHeld() {
  byId("forget").hidden = !token.get();
  // A link cannot carry the token.
  byId("meaning").hidden = Boolean(token.get());
}
