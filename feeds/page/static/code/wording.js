// How numbers, times and names are written for people.

import { cityNow } from "./city_time.js";

const CLOCK = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const timeFormat = new Intl.DateTimeFormat(undefined, CLOCK);
const secondsFormat = new Intl.DateTimeFormat(undefined, { ...CLOCK, second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", ...CLOCK });
const dateFormat = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", ...CLOCK });
const MINUTE = 60_000;

/** Time of day in the browser's zone, with the date where it is not today. */
export function time(ms, now = cityNow()) {
  const sameDay = new Date(ms).toDateString() === new Date(now).toDateString();
  return (sameDay ? timeFormat : dayFormat).format(ms);
}

export const timeWithSeconds = (ms) => secondsFormat.format(ms);

/** "Mon 23 Nov 08:03": of a clock that is not of today. */
export const dateAndTime = (ms) => dateFormat.format(ms).replace(",", "");

/** "4 min", "2 h 5 min", "3 days": a span of `ms`. */
export function span(ms) {
  const minutes = Math.round(Math.abs(ms) / MINUTE);
  if (minutes < 1) return "under 1 min";
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) {
    const rest = minutes % 60;
    return `${Math.floor(minutes / 60)} h${rest && minutes < 600 ? ` ${rest} min` : ""}`;
  }
  return `${Math.round(minutes / 1440)} days`;
}

/** "due in 2 h" or "40 min late". */
export function due(at, now) {
  return at >= now ? `due in ${span(at - now)}` : `${span(now - at)} late`;
}

/** `value` with `digits` after the point and its unit; a dash where there is none. */
export function quantity(value, unit = "", digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const text = value.toLocaleString(undefined, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return unit ? `${text}\u00a0${unit}` : text;
}

const compactFormat = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 3 });

/** A large count in little room: "112K". */
export const compact = (value) => compactFormat.format(value);

export const percent = (share) => quantity(share === null ? null : 100 * share, "%");

/** "1 incident", "3 incidents", "no incidents". */
export function count(number, one, many = `${one}s`) {
  return `${number === 0 ? "no" : number.toLocaleString()} ${number === 1 ? one : many}`;
}

/** A code such as `street_light` or `abandonedCar` as words: "Street light". */
export function words(code) {
  const text = String(code ?? "").replace(/_/g, " ").replace(/([a-z])([A-Z])/g, "$1 $2").trim();
  return text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();
}

const NAMES = {
  pm25: "PM2.5", pm10: "PM10", no2: "NO₂", o3: "O₃", co: "CO", so2: "SO₂", laeq: "Noise level",
  lamax: "Peak noise level", ndvi: "NDVI",
};

/** A measure's name for people. */
export const measureName = (measure) => NAMES[measure.toLowerCase()] ?? words(measure);

const PRIORITY = { 1: "urgent", 2: "high", 3: "normal", 4: "low" };
export const priorityName = (priority) => PRIORITY[priority] ?? `priority ${priority}`;
