// How fast each stage works and whether its books balance, from its cumulative ledger reports.

const REMEMBERED_MS = 20_000;
const SILENT_AFTER_MS = 15_000;
const NAMES = {
  gateway: "Gateway", worker: "Worker", sink: "Database", feeds: "Feeds",
  alerts: "Alerts", deliver: "Deliveries",
};

export const stageName = (stage) => NAMES[stage] ?? stage;

export class StageRates {
  constructor() {
    this.earlier = new Map(); // ledger id -> [{at, total}], oldest first
  }

  /** Remember the reports' totals, for the rates; call it as reports come. */
  note(reports) {
    for (const report of reports) {
      const held = this.earlier.get(report.id) ?? [];
      const last = held[held.length - 1];
      if (last?.at === report.at) continue;
      if (last?.at > report.at) held.length = 0; // the time slider went back
      held.push({ at: report.at, total: sums(report).received });
      while (held.length > 2 && held[0].at < report.at - REMEMBERED_MS) held.shift();
      this.earlier.set(report.id, held);
    }
  }

  /** One line per process that runs: {id, stage, instance, rate, lag, counts, imbalance, silent}. */
  lines(reports, now) {
    const newest = new Map();
    for (const report of reports) {
      const key = `${report.stage}/${report.instance}`;
      if (!newest.has(key) || newest.get(key).epoch < report.epoch) newest.set(key, report);
    }
    return [...newest.entries()].sort(byStage).map(([id, report]) => {
      const counts = sums(report);
      return {
        id,
        stage: report.stage,
        instance: report.instance,
        rate: this.#rate(report),
        lag: report.gauges?.lag_records ?? null,
        counts,
        imbalance: imbalanceOf(counts),
        silent: now - report.at > SILENT_AFTER_MS,
      };
    });
  }

  #rate(report) {
    const held = this.earlier.get(report.id) ?? [];
    if (held.length < 2) return null;
    const [first, last] = [held[0], held[held.length - 1]];
    return last.at > first.at ? (1000 * (last.total - first.total)) / (last.at - first.at) : null;
  }
}

const ORDER = Object.keys(NAMES);
const byStage = ([, a], [, b]) => ORDER.indexOf(a.stage) - ORDER.indexOf(b.stage) || a.instance.localeCompare(b.instance);

/** Counts of a report over all kinds. */
export function sums(report) {
  const total = { received: 0, accepted: 0, rejected: 0, duplicate: 0, corrected: 0, late: 0, in_flight: 0 };
  for (const counts of Object.values(report.kinds ?? {})) {
    for (const name of Object.keys(total)) total[name] += counts[name] ?? 0;
  }
  return total;
}

/** Readings that are unaccounted for: received less everything that became of them. */
export const imbalanceOf = (c) =>
  c.received - c.accepted - c.rejected - c.duplicate - c.corrected - c.late - c.in_flight;
