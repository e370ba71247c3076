// The cases citizens' reports made: how far each is, when it is due, who is proposed to go.

import { isOpenCase } from "./city_marks.js";
import { decideCase } from "./decisions.js";
import { element, KeyedList } from "./dom.js";
import { Proposal } from "./proposal.js";
import { allocationOf } from "./routes.js";
import { button, ListFrame, Row } from "./rows.js";
import { count, due, priorityName, span, words } from "./wording.js";

export class CasesPanel {
  constructor(root, desk) {
    this.topics = ["cases", "allocations"];
    this.frame = new ListFrame(root, "No open cases.");
    this.list = new KeyedList(this.frame.items, () => new CaseRow(desk));
  }

  count(city) {
    return city.list("cases").filter(isOpenCase).length;
  }

  show(city, now) {
    const open = city.list("cases").filter(isOpenCase).map((item) => ({
      ...item,
      now,
      allocation: allocationOf(city, `case/${item.id}`),
    }));
    const waits = (item) => (item.allocation?.state === "proposed" ? 0 : 1);
    open.sort((a, b) => waits(a) - waits(b) || a.due_at - b.due_at || a.opened_at - b.opened_at);
    this.list.show(this.frame.cut(open));
  }
}

class CaseRow extends Row {
  constructor(desk) {
    super("case", () => desk.select("case", this.item.id));
    this.desk = desk;
    this.text = element("p", { class: "quote" });
    this.proposal = new Proposal(desk);
    const act = (label, action) => button(label, (pressed) => decideCase(pressed, this.item, action));
    this.acknowledge = act("Acknowledge", "acknowledge");
    this.resolve = act("Resolve …", "resolve");
    this.reject = act("Reject …", "reject");
    this.closing = element(
      "details",
      {},
      element("summary", {}, "Decide on the case"),
      element("p", { class: "buttons" }, this.acknowledge, this.resolve, this.reject),
    );
    this.more.append(this.text, this.proposal.node, this.closing);
  }

  update(item) {
    this.item = item;
    const late = item.due_at < item.now;
    const near = item.breach === "near";
    this.show({
      badge: words(item.state),
      tone: late ? "severe" : near ? "moderate" : item.state === "in_progress" ? "active" : "plain",
      title: words(item.service),
      meta: [
        this.desk.model.areaName(item.area),
        due(item.due_at, item.now),
        `${priorityName(item.priority)} priority`,
        `open for ${span(item.now - item.opened_at)}`,
        item.reports > 1 ? count(item.reports, "report") : "",
        item.confirmed_by?.length ? "confirmed by sensors" : "",
      ],
      current: this.desk.isSelected("case", item.id),
    });
    this.text.textContent = item.description;
    this.text.hidden = !item.description;
    this.proposal.update(item.allocation, item.now);
    this.closing.hidden = !this.desk.mayDecide();
    this.acknowledge.hidden = item.state !== "received";
  }
}
