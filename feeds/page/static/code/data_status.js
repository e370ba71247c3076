// How the header says whether the data is of now: the feed's own connection, then the city's status.

import { span } from "./wording.js";

const CONNECTION = {
  connecting: "connecting", delayed: "delayed, reconnecting", refused: "sign-in needed",
};
const FINE = new Set(["live", "starting", "connecting"]);

/** The status item of the live feed; undefined before it came. */
export const statusOf = (city) => city.of("status").get("city");

/**
 * What the header shows: {state, text, detail, since}. `connection` is the feed's status, `status`
 * the city's item. `since` [ms] is null while all is well.
 */
export function shownStatus(connection, status, now) {
  if (connection !== "live") {
    return { state: connection, text: CONNECTION[connection] ?? connection, detail: "", since: null };
  }
  const state = status?.state ?? "live";
  const since = FINE.has(state) ? null : status.since;
  const text = since === null ? state : `${state} for ${lasting(now - since)}`;
  return { state: state.toLowerCase().replaceAll(" ", "-"), text, detail: status?.detail ?? "", since };
}

/** "40 s", then minutes: seconds matter at first. */
function lasting(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  return seconds < 120 ? `${seconds} s` : span(ms);
}
