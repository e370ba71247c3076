// Small dialogs: a note to go with a decision, how long to silence, the sign-in.

import { byId, element } from "./dom.js";

/**
 * Ask in a dialog; resolve to the answers by field name, null when it was closed.
 * Fields: {name, label, type ("text", "select", "password"), required, options: [[value, text]]}.
 */
export function ask({ title, text, fields, confirm }) {
  const dialog = byId("ask");
  return new Promise((resolve) => {
    const form = element(
      "form",
      { method: "dialog" },
      element("h2", { id: "ask-title" }, title),
      text ? element("p", { class: "soft" }, text) : null,
      ...fields.map(fieldOf),
      element(
        "p",
        { class: "buttons" },
        element("button", { type: "submit", value: "yes", class: "primary" }, confirm),
        element("button", { type: "button", onclick: () => dialog.close("") }, "Cancel"),
      ),
    );
    dialog.replaceChildren(form);
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => resolve(dialog.returnValue === "yes" ? Object.fromEntries(new FormData(form)) : null),
      { once: true },
    );
    dialog.showModal();
  });
}

function fieldOf({ name, label, type, required, options }) {
  const id = `ask-${name}`;
  const input =
    type === "select"
      ? element("select", { id, name }, ...options.map(([value, text]) => element("option", { value }, text)))
      : element("input", { id, name, type, required, autocomplete: "off", maxlength: 500 });
  return element("p", { class: "field" }, element("label", { for: id }, label), input);
}

/** Show the sign-in form until a token was taken; then call `done`. */
export function askForToken(done) {
  const dialog = byId("sign-in");
  if (dialog.open) return;
  const fault = element("p", { class: "fault", role: "alert" });
  const input = element("input", {
    id: "token", name: "token", type: "password", required: true, autocomplete: "current-password",
  });
  const form = element(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        fault.textContent = await signIn(input.value.trim());
        if (fault.textContent) return;
        dialog.close();
        done();
      },
    },
    element("h2", { id: "sign-in-title" }, "Sign in"),
    element("p", { class: "soft" }, "This city's data need an access token. Whoever runs the system makes one with “civicstream token create”."),
    element("p", { class: "field" }, element("label", { for: "token" }, "Access token"), input),
    fault,
    element("p", { class: "buttons" }, element("button", { type: "submit", class: "primary" }, "Sign in")),
  );
  dialog.replaceChildren(form);
  dialog.showModal();
}

/** Return what is wrong, "" when the token was taken. */
async function signIn(token) {
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json" },
      body: JSON.stringify({ token }),
    });
    if (answer.ok) return "";
    const problem = await answer.json().catch(() => ({}));
    return problem.detail ?? "The token was not taken.";
  } catch {
    return "The server cannot be reached; try again.";
  }
}
