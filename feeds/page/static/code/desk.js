// What the parts of the page share: which city is shown, what is selected, who is notified.

import { cityNow } from "./city_time.js";

const SUBJECTS = { segment: "segment", incident: "incident", case: "case", sensor: "sensor", area: "area" };

/** Events: "select" (detail: whether to bring it into the map's view), "refresh". */
export class Desk extends EventTarget {
  constructor(live, past, replay) {
    super();
    this.live = live;
    this.past = past;
    this.replay = replay;
    this.model = null;
    this.selection = null;
  }

  /** The state that is shown: the present, or what the time slider is at. */
  get city() {
    return this.replay.active ? this.past : this.live;
  }

  /** The time that is shown [epoch ms]. */
  now() {
    return this.replay.active ? this.replay.at : cityNow();
  }

  /** The past cannot be decided on. */
  mayDecide() {
    return !this.replay.active;
  }

  /** Select a thing by kind and id, or nothing with null; `bring` moves the map there. */
  select(kind, id, bring = true) {
    this.selection = kind ? { kind, id } : null;
    this.dispatchEvent(new CustomEvent("select", { detail: bring }));
  }

  /** Select what an alert is about, such as `segment/fw001e-004`; else its district. */
  selectSubject(subject, area) {
    const cut = subject.indexOf("/");
    const kind = SUBJECTS[subject.slice(0, cut)];
    if (kind) this.select(kind, subject.slice(cut + 1));
    else this.select("area", area);
  }

  isSelected(kind, id) {
    return this.selection?.kind === kind && this.selection.id === id;
  }

  refresh() {
    this.dispatchEvent(new Event("refresh"));
  }
}
