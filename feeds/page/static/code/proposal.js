// A proposed or running allocation of a task: who goes, why, who else could, and the decision.

import { acceptAllocation, overrideAllocation, rejectAllocation } from "./decisions.js";
import { element, setText } from "./dom.js";
import { button } from "./rows.js";
import { span, time } from "./wording.js";

const STATE = { proposed: "Proposed", accepted: "Sent" };

export class Proposal {
  constructor(desk) {
    this.desk = desk;
    this.line = element("p", { class: "proposal-line" });
    this.reason = element("p", { class: "soft" });
    this.accept = button("Accept", (pressed) => acceptAllocation(pressed, this.allocation), "primary");
    this.reject = button("Reject …", (pressed) => rejectAllocation(pressed, this.allocation));
    this.others = element("ul", { class: "alternatives" });
    this.otherBox = element("details", {}, element("summary", {}, "Other crews"), this.others);
    const buttons = element("p", { class: "buttons" }, this.accept, this.reject);
    this.buttons = buttons;
    this.node = element("div", { class: "proposal", hidden: true }, this.line, this.reason, buttons, this.otherBox);
  }

  update(allocation, now) {
    this.node.hidden = !allocation;
    if (!allocation) return;
    const changed = this.allocation?.id !== allocation.id || this.allocation.version !== allocation.version;
    this.allocation = allocation;
    const away = allocation.arrival_at - now;
    const arrival = away > 0 ? `there in ${span(away)} (${time(allocation.arrival_at, now)})` : `expected ${time(allocation.arrival_at, now)}`;
    setText(this.line, `${STATE[allocation.state]}: ${allocation.unit}, ${arrival}`);
    setText(this.reason, allocation.reason);
    const open = allocation.state === "proposed" && this.desk.mayDecide();
    this.buttons.hidden = !open;
    this.otherBox.hidden = !open || allocation.alternatives.length === 0;
    if (changed) this.#showOthers(allocation, now);
  }

  #showOthers(allocation, now) {
    const rows = allocation.alternatives.map((other) =>
      element(
        "li",
        {},
        element("span", {}, `${other.unit}, ${time(other.arrival_at, now)}`),
        button(`Send ${other.unit}`, (pressed) => overrideAllocation(pressed, this.allocation, other.unit)),
      ),
    );
    this.others.replaceChildren(...rows);
  }
}
