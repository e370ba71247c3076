// The city in one sentence.

import { isOnDuty, isOpenCase, isOpenIncident, isOut } from "./city_marks.js";
import { flows } from "./level_of_service.js";
import { count } from "./wording.js";

/** E.g. "3 incidents, 12 open cases, 9 of 12 crews out, traffic flows on 94 % of the roads." */
export function summaryOf(city) {
  const incidents = city.list("incidents").filter(isOpenIncident);
  const cases = city.list("cases").filter(isOpenCase);
  const crews = city.list("units").filter(isOnDuty);
  const parts = [
    count(incidents.length, "incident"),
    `${count(cases.length, "open case")}${late(cases, city.at)}`,
    crews.length ? `${crews.filter(isOut).length} of ${count(crews.length, "crew")} out` : "no crews on duty",
    traffic(city.list("segments")),
  ];
  const text = parts.join(", ");
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function late(cases, now) {
  const number = cases.filter((item) => item.due_at < now).length;
  return number ? ` (${number} late)` : "";
}

function traffic(segments) {
  const rated = segments.filter((row) => row.level_of_service);
  if (!rated.length) return "no traffic data yet";
  const share = Math.floor((100 * rated.filter(flows).length) / rated.length);
  return `traffic flows on ${share} % of the roads`;
}
