// Health of the sensors: those that are left out of the results, and why.

import { isUnhealthy } from "./city_marks.js";
import { element, KeyedList, setText } from "./dom.js";
import { ListFrame, Row } from "./rows.js";
import { count, measureName, quantity, span, time, words } from "./wording.js";

export class SensorsPanel {
  constructor(root, desk) {
    this.desk = desk;
    this.topics = ["health", "anomalies"];
    this.summary = element("p", { class: "soft" });
    root.append(this.summary);
    this.frame = new ListFrame(root, "All sensors are healthy.");
    this.list = new KeyedList(this.frame.items, () => new SensorRow(desk));
    root.append(element("h3", {}, "Unusual measurements"));
    this.unusual = new ListFrame(root, "Nothing unusual is measured.");
    this.anomalies = new KeyedList(this.unusual.items, () => new AnomalyRow(desk));
  }

  count(city) {
    return city.list("health").filter(isUnhealthy).length;
  }

  show(city, now) {
    const bad = city.list("health").filter(isUnhealthy).sort((a, b) => b.since - a.since);
    const all = this.desk.model.sensors.length;
    setText(this.summary, !all ? "" : `${(all - bad.length).toLocaleString()} of ${count(all, "sensor")} healthy; the others are left out of the results`);
    this.list.show(this.frame.cut(bad).map((item) => ({ ...item, now })));
    const open = city.list("anomalies").filter((item) => item.state === "open");
    open.sort((a, b) => b.score - a.score);
    this.anomalies.show(this.unusual.cut(open).map((item) => ({ ...item, now })));
  }
}

const sensorTitle = (item) => `${words(item.kind)} sensor ${item.sensor ?? item.id}`;

class SensorRow extends Row {
  constructor(desk) {
    super("sensor", () => desk.select("sensor", this.item.id));
    this.desk = desk;
  }

  update(item) {
    this.item = item;
    this.show({
      badge: words(item.health),
      tone: "moderate",
      title: sensorTitle(item),
      meta: [
        this.desk.model.areaName(item.area),
        `since ${time(item.since, item.now)} (${span(item.now - item.since)})`,
        item.reason,
      ],
      current: this.desk.isSelected("sensor", item.id),
    });
  }
}

class AnomalyRow extends Row {
  constructor(desk) {
    super("anomaly", () => desk.selectSubject(`area/${this.item.area}`, this.item.area));
    this.desk = desk;
  }

  update(item) {
    this.item = item;
    this.show({
      badge: "unusual",
      tone: "moderate",
      title: `${measureName(item.measure)}: ${sensorTitle(item)}`,
      meta: [
        this.desk.model.areaName(item.area),
        `measured ${quantity(item.value, "", 1)}, usual ${quantity(item.low, "", 1)} to ${quantity(item.high, "", 1)}`,
        `since ${time(item.started_at, item.now)}`,
      ],
      current: false,
    });
  }
}
