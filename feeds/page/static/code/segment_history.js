// One segment's day: measured, usual and expected, brought onto the same clock.

import { get } from "./api.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const SHOWN_HOURS = 8; // longer, and the forecast would be a sliver at the edge

/**
 * Load what the charts show. Returns {measured: [{at, speed, flow}], usual: [{at, ...}],
 * forecast: [{at, ...}], from, now}: `at` epoch ms; speeds km/h, flows vehicles/h.
 */
export async function loadSegmentDay(id, now, signal) {
  const from = Math.round(now) - SHOWN_HOURS * HOUR;
  const path = `segments/${encodeURIComponent(id)}`;
  const [windows, forecast, ...usual] = await Promise.all([
    get(`${path}/windows`, { from, to: Math.round(now), step: "1m" }, signal),
    optional(get(`${path}/forecast`, {}, signal)),
    ...daysOf(from, now + HOUR).map((date) => optional(get(`${path}/usual`, { date }, signal))),
  ]);
  return {
    measured: rows(windows).map(measuredPoint).sort(byTime),
    usual: usual.flatMap((day) => (day ? usualPoints(day) : [])).sort(byTime),
    forecast: forecast ? forecastPoints(forecast).filter((point) => point.at > now - DAY) : [],
    from,
    now,
  };
}

/** The dates (2026-05-04) from `from` to `to`, as the browser's zone has them. */
function daysOf(from, to) {
  const dates = new Set();
  for (let at = from; at < to + DAY; at += DAY) dates.add(dateOf(Math.min(at, to)));
  return [...dates];
}

function dateOf(at) {
  return new Date(at - new Date(at).getTimezoneOffset() * MINUTE).toISOString().slice(0, 10);
}

/** Epoch ms of the midnight with which `date` begins in `zone`. */
export function midnight(date, zone) {
  const guess = Date.parse(`${date}T00:00:00Z`);
  const there = new Date(guess).toLocaleString("sv-SE", { timeZone: zone }).replace(" ", "T");
  return guess - (Date.parse(`${there}Z`) - guess);
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

function usualPoints(answer) {
  const start = midnight(answer.date, answer.time_zone);
  return answer.slots.map((slot) => ({
    at: start + slot.minute * MINUTE,
    speed: slot.speed_kmh,
    speedLow: slot.speed_low_kmh,
    speedHigh: slot.speed_high_kmh,
    flow: slot.flow_veh_h,
    flowLow: slot.flow_low_veh_h,
    flowHigh: slot.flow_high_veh_h,
  }));
}

function forecastPoints(answer) {
  return rows(answer).map(expected).sort(byTime);
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
