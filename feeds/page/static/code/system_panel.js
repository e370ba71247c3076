// The data's own way: does the ledger balance, how fast and how far behind is every stage.

import { element, KeyedList, setAttribute, setText } from "./dom.js";
import { StageRates, stageName } from "./stage_rates.js";
import { compact, measureName, quantity, words } from "./wording.js";

export class SystemPanel {
  constructor(root, desk) {
    this.desk = desk;
    this.topics = ["ledger", "environment", "demand"];
    this.rates = new StageRates();
    this.verdict = element("p", { class: "verdict" });
    this.body = element("tbody");
    this.stages = new KeyedList(this.body, () => new StageRow());
    root.append(this.verdict, table("Every stage of the data’s way", ["Stage", "In/s", "Waiting", "Missing", "Taken in"], this.body));
    this.air = element("tbody");
    this.measures = new KeyedList(this.air, () => new MeasureRow());
    root.append(element("h3", {}, "Environment, mean of all districts"), table("Environment", ["Measure", "Mean", "Highest"], this.air));
    this.needs = element("tbody");
    this.demand = new KeyedList(this.needs, () => new DemandRow());
    root.append(element("h3", {}, "Demand"), table("Open tasks and pressure per service", ["Service", "Open", "New/h", "Busiest district"], this.needs));
  }

  count() {
    return null;
  }

  /** Keep the rates going while the panel is not shown. */
  note(city) {
    this.rates.note(city.list("ledger"));
  }

  show(city) {
    // The past has no ledger reports: the data flow is always that of now.
    const lines = this.rates.lines(this.desk.live.list("ledger"), Date.now());
    const missing = lines.reduce((sum, line) => sum + Math.abs(line.imbalance), 0);
    const silent = lines.filter((line) => line.silent).map((line) => stageName(line.stage));
    setText(this.verdict, verdictOf(lines.length, missing, silent));
    setAttribute(this.verdict, "data-good", String(lines.length > 0 && !missing && !silent.length));
    this.stages.show(lines);
    this.measures.show(environment(city));
    this.demand.show(demand(city, this.desk.model));
  }
}

/** One sentence; a tick only when all is well. */
function verdictOf(stages, missing, silent) {
  if (!stages) return "No stage has reported yet.";
  if (missing) return `✗ ${quantity(missing)} readings are unaccounted for.`;
  if (silent.length) return `✗ No report from: ${silent.join(", ")}. What the others say balances.`;
  return "✓ The ledger balances: every reading is accounted for.";
}

function table(caption, heads, body) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {}, element("caption", { class: "hidden" }, caption), element("thead", {}, head), body));
}

/** A table row whose first cell is its head. */
class Cells {
  constructor(number) {
    this.cells = [element("th", { scope: "row" })];
    for (let i = 1; i < number; i += 1) this.cells.push(element("td"));
    this.node = element("tr", {}, ...this.cells);
  }

  fill(texts) {
    texts.forEach((text, i) => setText(this.cells[i], text));
  }
}

class StageRow extends Cells {
  constructor() {
    super(5);
  }

  update(line) {
    const { counts } = line;
    this.fill([
      stageName(line.stage),
      line.silent ? "silent" : quantity(line.rate, "", line.rate !== null && line.rate < 10 ? 1 : 0),
      quantity(line.lag),
      quantity(line.imbalance),
      compact(counts.received),
    ]);
    setAttribute(this.node, "title", `${line.instance}: ${quantity(counts.received)} taken in, ${quantity(counts.rejected)} rejected, ${quantity(counts.late)} late`);
    setAttribute(this.node, "data-bad", line.silent || line.imbalance !== 0 ? "true" : null);
  }
}

function environment(city) {
  const groups = new Map();
  for (const item of city.list("environment")) {
    const id = `${item.kind}/${item.measure}`;
    const held = groups.get(id) ?? { id, measure: item.measure, kind: item.kind, sum: 0, weight: 0, max: -Infinity };
    held.sum += item.mean * item.readings;
    held.weight += item.readings;
    held.max = Math.max(held.max, item.max);
    groups.set(id, held);
  }
  return [...groups.values()].sort((a, b) => a.id.localeCompare(b.id));
}

const UNITS = {
  pm25: "µg/m³", pm10: "µg/m³", no2: "µg/m³", o3: "µg/m³", co: "mg/m³", so2: "µg/m³",
  laeq: "dB(A)", lamax: "dB(A)", temperature: "°C", windspeed: "m/s", winddirection: "°",
  precipitation: "mm/h", atmosphericpressure: "hPa", level: "m", flow: "m³/s", pressure: "bar",
  activepower: "kW", voltage: "V", availablespotnumber: "spaces", totalspotnumber: "spaces",
};
const SHARES = new Set(["relativehumidity", "fillinglevel"]);

class MeasureRow extends Cells {
  constructor() {
    super(3);
  }

  update(row) {
    const name = row.measure.toLowerCase().replaceAll("_", "");
    const text = (value) => (SHARES.has(name) ? quantity(100 * value, "%") : quantity(value, UNITS[name] ?? "", 1));
    this.fill([`${measureName(row.measure)} (${words(row.kind).toLowerCase()})`, text(row.sum / row.weight), text(row.max)]);
  }
}

function demand(city, model) {
  const groups = new Map();
  for (const item of city.list("demand")) {
    const held = groups.get(item.service) ?? { id: item.service, open: 0, arrivals: 0, worst: null };
    held.open += item.open_tasks;
    held.arrivals += item.arrivals_per_h;
    if (item.open_tasks && (item.pressure ?? 0) > (held.worst?.pressure ?? 0)) held.worst = item;
    groups.set(item.service, held);
  }
  const rows = [...groups.values()].filter((row) => row.open || row.arrivals >= 0.05);
  return rows.sort((a, b) => b.open - a.open || a.id.localeCompare(b.id)).map((row) => ({
    ...row, place: row.worst ? model.areaName(row.worst.area) : "–",
  }));
}

class DemandRow extends Cells {
  constructor() {
    super(4);
  }

  update(row) {
    this.fill([words(row.id), quantity(row.open), quantity(row.arrivals, "", 1), row.place]);
  }
}
