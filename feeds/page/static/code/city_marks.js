// Which marks the map shows now, and where: incidents, open cases, crews and sensors.

const CLOSED_CASES = new Set(["resolved", "rejected", "duplicate"]);
const SENSORS_FROM_SCALE = 5; // metres per pixel: from here on every sensor has room

export const isOpenIncident = (item) => item.state !== "cleared";
export const isOpenCase = (item) => !CLOSED_CASES.has(item.state);
export const isActiveAlert = (item) => item.state === "active";
export const isOnDuty = (item) => item.state !== "off_duty";
export const isOut = (item) => ["assigned", "en_route", "on_site"].includes(item.state);
export const isUnhealthy = (item) => item.health !== "ok";

export class CityMarks {
  constructor(model, motion) {
    this.model = model;
    this.motion = motion;
    this.still = [];
    this.units = [];
  }

  /** Take the marks from `city`; called when these topics changed, not for each picture. */
  update(city) {
    const placed = (kind, items) =>
      items.flatMap((item) => {
        const place = this.model.placeOf(item);
        return place ? [{ kind, id: item.id, item, x: place[0], y: place[1] }] : [];
      });
    const unhealthy = city.list("health").filter(isUnhealthy).map((item) => {
      const sensor = this.model.sensorOf(item);
      return { ...item, segment: sensor?.segment };
    });
    this.sensors = placed("sensor", unhealthy);
    this.unhealthy = new Set(unhealthy.map((item) => this.model.sensorOf(item)));
    this.still = [
      ...this.sensors,
      ...placed("case", city.list("cases").filter(isOpenCase)),
      ...placed("incident", city.list("incidents").filter(isOpenIncident)),
    ];
    this.units = city.list("units").filter(isOnDuty).map((item) => ({ kind: "unit", id: item.id, item }));
  }

  /** All marks at `now`, those that matter most last (drawn on top). */
  *at(now, view) {
    if (view.scale < SENSORS_FROM_SCALE) yield* this.#healthySensors(view);
    yield* this.still;
    for (const mark of this.units) {
      const place = this.motion.place(mark.id, now);
      if (place) yield { ...mark, x: place[0], y: place[1] };
    }
  }

  *#healthySensors(view) {
    const [west, north] = view.toPlane(0, 0);
    const [east, south] = view.toPlane(view.width, view.height);
    for (const sensor of this.model.sensors) {
      if (sensor.x < west || sensor.x > east || sensor.y < north || sensor.y > south) continue;
      if (!this.unhealthy?.has(sensor)) {
        yield { kind: "sensor", id: `sensor-${sensor.id}`, item: sensor, x: sensor.x, y: sensor.y };
      }
    }
  }

  /** The mark nearest to pixel (px, py), null when none is within reach. */
  nearest(px, py, now, view, reach = 14) {
    let best = null;
    let least = reach;
    for (const mark of this.at(now, view)) {
      const [x, y] = view.toScreen(mark.x, mark.y);
      const distance = Math.hypot(x - px, y - py) - (mark.kind === "unit" ? 1 : 0);
      if (distance <= least) [best, least] = [mark, distance];
    }
    return best;
  }
}
