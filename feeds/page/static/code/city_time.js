// The city's clock: the real one, unless the settings declare another (a replay, a simulated hour).

const REAL = { wall_ms: 0, city_ms: 0, speed: 1 };

let clock = REAL;
let ahead = 0; // of the server's clock before the browser's [ms]

/** Go by the answer of GET /api/v1/clock, which came just now. */
export function setClock(found, wall = Date.now()) {
  clock = found;
  ahead = clock.declared ? found.server_ms - wall : 0;
}

/** The city's time [epoch ms] when the server's clock says `wall`. */
export function cityTimeAt(wall) {
  return Math.min(clock.city_ms + Math.max(wall - clock.wall_ms, 0) * clock.speed, wall);
}

/** The city's time now [epoch ms]. */
export const cityNow = (wall = Date.now()) => cityTimeAt(wall + ahead);

/** What people should know of the clock: "simulated time", "time runs 60×"; "" for the real one. */
export function clockMode(wall = Date.now()) {
  if (cityTimeAt(wall + ahead) >= wall + ahead) return "";
  return clock.speed === 1 ? "simulated time" : `time runs ${clock.speed.toLocaleString()}×`;
}
