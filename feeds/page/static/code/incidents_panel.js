// Traffic incidents: where, since when, what they cost, and who goes there.

import { isOpenIncident } from "./city_marks.js";
import { element, KeyedList } from "./dom.js";
import { Proposal } from "./proposal.js";
import { allocationOf } from "./routes.js";
import { button, ListFrame, Row } from "./rows.js";
import { percent, quantity, span, time, words } from "./wording.js";

const RANK = { confirmed: 0, suspected: 1, clearing: 2 };

export class IncidentsPanel {
  constructor(root, desk) {
    this.topics = ["incidents", "allocations"];
    this.frame = new ListFrame(root, "No incidents.");
    this.list = new KeyedList(this.frame.items, () => new IncidentRow(desk));
  }

  count(city) {
    return city.list("incidents").filter(isOpenIncident).length;
  }

  show(city, now) {
    const open = city.list("incidents").filter(isOpenIncident).map((item) => ({
      ...item,
      now,
      allocation: allocationOf(city, `incident/${item.id}`),
    }));
    open.sort((a, b) => RANK[a.state] - RANK[b.state] || b.delay_veh_h - a.delay_veh_h);
    this.list.show(this.frame.cut(open));
  }
}

class IncidentRow extends Row {
  constructor(desk) {
    super("incident", () => desk.select("incident", this.item.id));
    this.desk = desk;
    this.proposal = new Proposal(desk);
    const show = () => desk.select("segment", this.item.segment);
    const road = element("p", { class: "buttons" }, button("Show the road’s charts", show));
    this.more.append(this.proposal.node, road);
  }

  update(item) {
    this.item = item;
    this.show({
      badge: words(item.state),
      tone: item.state === "confirmed" ? "severe" : item.state === "suspected" ? "moderate" : "plain",
      title: this.desk.model.segmentPlace(item.segment),
      meta: [
        `since ${time(item.estimated_start, item.now)} (${span(item.now - item.estimated_start)})`,
        `${percent(item.severity)} of the capacity lost`,
        item.queue_m > 0 ? `queue ${queue(item.queue_m)}` : "",
        `${quantity(item.delay_veh_h, "vehicle hours", item.delay_veh_h < 10 ? 1 : 0)} lost`,
        `${percent(item.confidence)} sure`,
      ],
      current: this.desk.isSelected("incident", item.id),
    });
    this.proposal.update(item.allocation, item.now);
  }
}

const queue = (metres) => (metres >= 1000 ? quantity(metres / 1000, "km", 1) : quantity(metres, "m"));
