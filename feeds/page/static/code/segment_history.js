// One segment's day: measured, usual and expected, brought onto the same clock.

import { get } from "./api.js";

const MINUTE = 60_000;

/**
 * Load what the charts show. Returns {measured: [{at, speed, flow}], usual: [{at, ...}],
 * forecast: [{at, ...}] or [], until}: `at` epoch ms; speeds km/h, flows vehicles/h.
 */
export async function loadSegmentDay(id, now, signal) {
  const from = new Date(now).setHours(0, 0, 0, 0);
  const path = `segments/${encodeURIComponent(id)}`;
  const [windows, usual, forecast] = await Promise.all([
    get(`${path}/windows`, { from, to: Math.round(now), step: "5m" }, signal),
    optional(get(`${path}/usual`, {}, signal)),
    optional(get(`${path}/forecast`, {}, signal)),
  ]);
  return {
    measured: rows(windows).map(measuredPoint).sort(byTime),
    usual: usual ? usualPoints(usual, from) : [],
    forecast: forecast ? forecastPoints(forecast) : [],
    from,
    now,
  };
}

/** A segment without history or forecast has charts all the same. */
async function optional(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

const rows = (answer) => answer.items ?? [];
const byTime = (a, b) => a.at - b.at;

function measuredPoint(row) {
  return {
    at: row.window_end,
    speed: row.space_mean_speed_kmh ?? row.time_mean_speed_kmh ?? null,
    flow: row.flow_veh_h ?? null,
  };
}

function usualPoints(answer, from) {
  return rows(answer)
    .map((row) => ({
      at: from + row.minute_of_day * MINUTE,
      speed: row.speed_kmh,
      speedLow: row.speed_low_kmh,
      speedHigh: row.speed_high_kmh,
      flow: row.flow_veh_h,
      flowLow: row.flow_low_veh_h,
      flowHigh: row.flow_high_veh_h,
    }))
    .sort(byTime);
}

function forecastPoints(answer) {
  const list = answer.horizons_min ? answer.horizons_min.map((horizon, i) => pick(answer, horizon, i)) : rows(answer).map(expected);
  return list.filter((point) => point.speed !== null || point.flow !== null).sort(byTime);
}

/** Of a forecast with a list per measure: the values of its i-th horizon. */
function pick(answer, horizon, i) {
  const one = { target: answer.made_at + horizon * MINUTE };
  for (const [name, values] of Object.entries(answer)) {
    if (Array.isArray(values)) one[name] = values[i];
  }
  return expected(one);
}

function expected(row) {
  return {
    at: row.target,
    speed: row.speed_kmh ?? null,
    speedLow: row.speed_low_kmh ?? null,
    speedHigh: row.speed_high_kmh ?? null,
    flow: row.flow_veh_h ?? null,
    flowLow: row.flow_low_veh_h ?? null,
    flowHigh: row.flow_high_veh_h ?? null,
  };
}
