// Crews: where each is, what it does, until when it works.

import { isOnDuty, isOut } from "./city_marks.js";
import { KeyedList } from "./dom.js";
import { ListFrame, Row } from "./rows.js";
import { quantity, span, time, words } from "./wording.js";

const STATES = {
  available: "free", assigned: "assigned", en_route: "driving", on_site: "on site", off_duty: "off duty",
};
const RANK = { on_site: 0, en_route: 1, assigned: 2, available: 3, off_duty: 4 };

export class UnitsPanel {
  constructor(root, desk) {
    this.topics = ["units", "cases", "incidents"];
    this.frame = new ListFrame(root, "No crew is on duty.");
    this.list = new KeyedList(this.frame.items, () => new UnitRow(desk));
  }

  count(city) {
    return city.list("units").filter(isOnDuty).length;
  }

  show(city, now) {
    const units = city.list("units").filter(isOnDuty).map((item) => ({
      ...item,
      now,
      doing: taskText(city, item.task),
    }));
    units.sort((a, b) => RANK[a.state] - RANK[b.state] || a.id.localeCompare(b.id, undefined, { numeric: true }));
    this.list.show(this.frame.cut(units));
  }
}

/** E.g. "pothole (case)"; the id's own words where the task is not known. */
function taskText(city, task) {
  if (!task) return "";
  const [kind, ...rest] = task.split("/");
  const found = city.of(`${kind}s`)?.get(rest.join("/"));
  if (found && kind === "case") return `for: ${words(found.service)}`;
  return `for: ${words(kind)}`;
}

class UnitRow extends Row {
  constructor(desk) {
    super("unit", () => desk.select("unit", this.item.id));
    this.desk = desk;
  }

  update(item) {
    this.item = item;
    this.show({
      badge: STATES[item.state] ?? words(item.state),
      tone: isOut(item) ? "active" : "plain",
      title: item.id,
      meta: [
        item.doing,
        item.skills.map(words).join(", "),
        this.desk.model.areaName(item.area),
        `shift until ${time(item.shift_end, item.now)}`,
        item.capacity ? `load ${quantity(item.load, "", 1)} of ${quantity(item.capacity, "", 1)}` : "",
        item.now - item.at > 300_000 ? `last heard ${span(item.now - item.at)} ago` : "",
      ],
      current: this.desk.isSelected("unit", item.id),
    });
  }
}
