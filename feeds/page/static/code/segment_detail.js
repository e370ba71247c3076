// What is known of the selected road segment: now, today against usual, and ahead.

import { drawChart, dropChart } from "./charts.js";
import { byId, element, setText } from "./dom.js";
import { levelOf, levelText } from "./level_of_service.js";
import { loadSegmentDay } from "./segment_history.js";
import { percent, quantity, time } from "./wording.js";

const RELOAD_MS = 60_000;
const TABLE_STEP_MS = 300_000;
const MOST_ROWS = 24;
const KEY = [
  ["line", "measured"], ["line dashed", "forecast"], ["area ahead", "80 % interval of it"],
  ["line dotted", "usual"], ["area", "usual range"],
];

export class SegmentDetail {
  constructor(desk) {
    this.desk = desk;
    this.root = byId("detail");
    this.id = null;
  }

  /** Show segment `id`, or nothing with null. */
  open(id, city) {
    if (id === this.id) return;
    this.#leave();
    this.id = id;
    this.root.hidden = id === null;
    if (id === null) return;
    this.#build(id);
    this.update(city);
    this.#load();
    this.timer = setInterval(() => this.#load(), RELOAD_MS);
  }

  /** Segments changed: the figures of now. */
  update(city) {
    if (this.id === null) return;
    const row = city.of("segments").get(this.id);
    const segment = this.desk.model.segments.get(this.id);
    const facts = [
      ["Level of service", levelText(levelOf(row))],
      ["Speed", quantity(row?.space_mean_speed_kmh, "km/h")],
      ["Free flow", quantity(segment?.free_flow_kmh, "km/h")],
      ["Flow", quantity(row?.flow_veh_h, "veh/h")],
      ["Density", quantity(row?.density_veh_km_lane, "veh/km/lane", 1)],
      ["Travel time", row?.travel_time_index ? `${quantity(row.travel_time_index, "", 2)} × free` : "–"],
      ["Sensors heard", percent(row ? row.coverage : null)],
      ["As of", row ? `${time(row.window_end)}${row.status === "provisional" ? " (provisional)" : ""}` : "–"],
    ];
    facts.forEach(([, text], i) => setText(this.facts.children[i].lastChild, text));
  }

  recolour() {
    if (this.day) this.#draw();
  }

  #build(id) {
    const names = ["Level of service", "Speed", "Free flow", "Flow", "Density", "Travel time", "Sensors heard", "As of"];
    this.facts = element("dl", { class: "facts" }, ...names.map((name) => element("div", {}, element("dt", {}, name), element("dd"))));
    this.charts = ["speed", "flow"].map((measure) => element("div", { class: "chart", "aria-hidden": "true", "data-measure": measure }));
    this.note = element("p", { class: "soft" }, "Loading its day …");
    this.table = element("tbody");
    const heads = ["Time", "Speed", "usual", "Flow", "usual"].map((text) => element("th", { scope: "col" }, text));
    const close = element("button", { type: "button", class: "quiet", "aria-label": "Close the road’s details", onclick: () => this.desk.select(null) }, "×");
    this.root.replaceChildren(
      element("header", {}, element("h2", { id: "detail-title" }, this.desk.model.segmentPlace(id)), close),
      this.facts,
      this.note,
      element("ul", { class: "chart-key", "aria-hidden": "true" }, ...KEY.map(([kind, text]) => element("li", {}, element("span", { class: kind }), text))),
      element("div", { class: "charts" }, ...this.charts),
      element("details", { class: "figures" }, element("summary", {}, "The same as a table"),
        element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Figures of the charts" },
          element("table", {}, element("thead", {}, element("tr", {}, ...heads)), this.table))),
    );
  }

  async #load() {
    this.abort?.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    try {
      this.day = await loadSegmentDay(this.id, this.desk.now(), signal);
      if (signal.aborted) return;
      this.#fillTable();
      await this.#draw();
      setText(this.note, this.day.measured.length ? "" : "Nothing was measured here in the last hours.");
    } catch (error) {
      if (error.name !== "AbortError") setText(this.note, `Its day cannot be shown: ${error.message}`);
    }
  }

  async #draw() {
    await Promise.all(this.charts.map((node) => drawChart(node, this.day, node.dataset.measure)));
  }

  #fillTable() {
    const { measured, usual, forecast } = this.day;
    const usualAt = (at) => usual.findLast((point) => point.at <= at) ?? {};
    const shown = measured.length > MOST_ROWS ? measured.filter((p) => p.at % TABLE_STEP_MS === 0) : measured;
    const rows = [...shown.slice(-MOST_ROWS).map((p) => ({ ...p, ahead: false })), ...forecast.map((p) => ({ ...p, ahead: true }))];
    this.table.replaceChildren(...rows.map((point) => figures(point, usualAt(point.at))));
  }

  #leave() {
    clearInterval(this.timer);
    this.abort?.abort();
    this.day = null;
    this.charts?.forEach(dropChart);
  }
}

function figures(point, usual) {
  const interval = (low, high, unit) =>
    point.ahead && Number.isFinite(low) ? ` (${quantity(low)} to ${quantity(high)})${unit}` : "";
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, `${time(point.at)}${point.ahead ? " (forecast)" : ""}`),
    element("td", {}, quantity(point.speed, "km/h") + interval(point.speedLow, point.speedHigh, "")),
    element("td", {}, quantity(usual.speed, "km/h")),
    element("td", {}, quantity(point.flow, "veh/h") + interval(point.flowLow, point.flowHigh, "")),
    element("td", {}, quantity(usual.flow, "veh/h")),
  );
}
