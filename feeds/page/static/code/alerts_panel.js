// The alerts: what somebody has to look at, and what became of it.

import { isActiveAlert } from "./city_marks.js";
import { acknowledgeAlert, silenceAlert, unsilenceAlert } from "./decisions.js";
import { KeyedList } from "./dom.js";
import { button, ListFrame, Row } from "./rows.js";
import { count, span, time } from "./wording.js";

const RANK = { extreme: 4, severe: 3, moderate: 2, minor: 1 };

export class AlertsPanel {
  constructor(root, desk) {
    this.desk = desk;
    this.topics = ["alerts"];
    this.frame = new ListFrame(root, "No active alerts.");
    this.list = new KeyedList(this.frame.items, (item) => new AlertRow(item, desk));
  }

  count(city) {
    return city.list("alerts").filter((a) => isActiveAlert(a) && !a.parent).length;
  }

  show(city, now) {
    const active = city.list("alerts").filter((a) => isActiveAlert(a) && !a.parent);
    const quiet = (a) => (a.silenced_until > now ? 2 : 0) + (a.acknowledged_at ? 1 : 0);
    active.sort(
      (a, b) => quiet(a) - quiet(b) || RANK[b.severity] - RANK[a.severity] || b.started_at - a.started_at,
    );
    this.list.show(this.frame.cut(active).map((item) => ({ ...item, now })));
  }
}

class AlertRow extends Row {
  constructor(item, desk) {
    super("alert", () => desk.selectSubject(this.item.subject, this.item.area));
    this.desk = desk;
    this.acknowledge = button("Acknowledge", (pressed) => acknowledgeAlert(pressed, this.item), "primary");
    this.silence = button("Silence …", (pressed) => silenceAlert(pressed, this.item));
    this.unsilence = button("End silence", (pressed) => unsilenceAlert(pressed, this.item));
    this.more.classList.add("buttons");
    this.more.append(this.acknowledge, this.silence, this.unsilence);
  }

  update(item) {
    this.item = item;
    const silenced = item.silenced_until > item.now;
    this.show({
      badge: item.severity,
      tone: item.severity,
      title: item.headline,
      meta: [
        `since ${time(item.started_at, item.now)} (${span(item.now - item.started_at)})`,
        this.desk.model.areaName(item.area),
        item.children ? `stands for ${count(item.children, "alert")}` : "",
        item.escalation ? `escalated ${item.escalation}×` : "",
        item.acknowledged_at ? `acknowledged by ${item.acknowledged_by} ${time(item.acknowledged_at, item.now)}` : "",
        silenced ? `silenced until ${time(item.silenced_until, item.now)} by ${item.silenced_by}` : "",
        item.note,
      ],
      current: this.desk.isSelected("alert", item.id),
    });
    const live = this.desk.mayDecide();
    this.acknowledge.hidden = !live || Boolean(item.acknowledged_at);
    this.silence.hidden = !live || silenced;
    this.unsilence.hidden = !live || !silenced;
  }
}
