// Short messages for people: what went wrong, and news read out by a screen reader.

import { byId, element } from "./dom.js";

const STAYS_MS = 12_000;

/** Show a fault until it is closed or some seconds have passed. */
export function complain(text) {
  const notice = element("p", { class: "notice" }, element("span", {}, text));
  notice.append(
    element("button", { type: "button", "aria-label": "Close", onclick: () => notice.remove() }, "×"),
  );
  byId("notices").append(notice);
  setTimeout(() => notice.remove(), STAYS_MS);
}

/** Let a screen reader say it when it has finished what it says now. */
export function announce(text) {
  byId("announcer").textContent = text;
}

const LOUD = new Set(["severe", "extreme"]);

/** Announces each severe alert once, and none of those that were there at the beginning. */
export class AlertAnnouncer {
  constructor() {
    this.known = null;
  }

  look(alerts) {
    const loud = alerts.filter((a) => a.state === "active" && LOUD.has(a.severity) && !a.parent);
    const fresh = this.known ? loud.filter((a) => !this.known.has(a.id)) : [];
    this.known = new Set(loud.map((a) => a.id));
    if (!fresh.length) return;
    const first = fresh.slice(0, 2).map((a) => `${a.severity} alert: ${a.headline}`);
    if (fresh.length > 2) first.push(`and ${fresh.length - 2} more`);
    announce(first.join(". "));
  }
}
