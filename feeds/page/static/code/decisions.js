// What people decide on this page, sent off; the row changes when the city answers.

import { decide } from "./api.js";
import { ask } from "./ask.js";
import { announce, complain } from "./notices.js";

/**
 * Send a decision. `button` shows that it is under way and cannot be pressed twice. Says
 * what went wrong, if anything. Returns whether it was taken.
 */
async function send(button, things, id, action, body) {
  if (button.getAttribute("aria-disabled") === "true") return false;
  const label = button.textContent;
  button.setAttribute("aria-disabled", "true");
  button.textContent = `${label} …`;
  try {
    await decide(things, id, action, body);
    announce(`${label}: sent`);
    return true;
  } catch (error) {
    complain(`${label}: ${error.message}`);
    return false;
  } finally {
    button.removeAttribute("aria-disabled");
    button.textContent = label;
  }
}

export const acknowledgeAlert = (button, alert) => send(button, "alerts", alert.id, "acknowledge", {});

export const unsilenceAlert = (button, alert) => send(button, "alerts", alert.id, "unsilence", {});

export async function silenceAlert(button, alert) {
  const answers = await ask({
    title: "Silence this alert",
    text: `“${alert.headline}” No mail goes out for it meanwhile; other receivers get it as ever.`,
    fields: [
      {
        name: "minutes", label: "For", type: "select",
        options: [["15", "15 minutes"], ["60", "1 hour"], ["240", "4 hours"], ["1440", "1 day"]],
      },
      { name: "note", label: "Note (optional)", type: "text" },
    ],
    confirm: "Silence",
  });
  if (!answers) return;
  const body = { minutes: Number(answers.minutes), note: answers.note };
  await send(button, "alerts", alert.id, "silence", body);
}

export const acceptAllocation = (button, allocation) =>
  send(button, "allocations", allocation.id, "accept", {});

export async function rejectAllocation(button, allocation) {
  const answers = await ask({
    title: `Do not send ${allocation.unit}`,
    text: "Another crew will be proposed. The reason is kept with the decision.",
    fields: [{ name: "note", label: "Reason", type: "text", required: true }],
    confirm: "Reject",
  });
  if (answers) await send(button, "allocations", allocation.id, "reject", answers);
}

export async function overrideAllocation(button, allocation, unit) {
  const answers = await ask({
    title: `Send ${unit} instead of ${allocation.unit}`,
    fields: [{ name: "note", label: "Note (optional)", type: "text" }],
    confirm: `Send ${unit}`,
  });
  if (answers) await send(button, "allocations", allocation.id, "override", { unit, ...answers });
}

export async function decideCase(button, one, action) {
  const closes = action === "resolve" || action === "reject";
  const answers = closes
    ? await ask({
        title: action === "resolve" ? "Resolve this case" : "Reject this case",
        text: one.description,
        fields: [{ name: "note", label: "Note for the citizen", type: "text", required: true }],
        confirm: action === "resolve" ? "Resolve" : "Reject",
      })
    : { note: "" };
  if (answers) await send(button, "cases", one.id, action, answers);
}
