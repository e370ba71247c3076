// The city's own geometry in metres on a plane, with names for people.

import { words } from "./wording.js";

const EARTH_RADIUS_M = 6_371_000;
const RADIAN = Math.PI / 180;

export class CityModel {
  /** From the GeoJSON of GET /api/v1/city. */
  constructor(collection) {
    this.areas = new Map();
    this.segments = new Map();
    this.sensors = [];
    this.byPlace = new Map(); // kind/area/sensor -> sensor
    const box = boundsOf(collection.features);
    this.origin = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    this.metresPerDegree = EARTH_RADIUS_M * RADIAN;
    this.shrink = Math.cos(this.origin[1] * RADIAN); // of longitudes at this latitude
    for (const feature of collection.features) this.#add(feature);
    const [west, north] = this.plane(box[0], box[3]);
    const [east, south] = this.plane(box[2], box[1]);
    /** West, north, east, south on the plane [m]; y grows southwards, as on a screen. */
    this.bounds = [west, north, east, south];
  }

  /** Longitude, latitude -> x, y [m]: equirectangular, true to within 0.1 % over a city. */
  plane(lon, lat) {
    const x = (lon - this.origin[0]) * this.metresPerDegree * this.shrink;
    return [x, (this.origin[1] - lat) * this.metresPerDegree];
  }

  #add(feature) {
    const { properties, geometry } = feature;
    if (properties.feature === "area") {
      const ring = geometry.coordinates[0].map(([lon, lat]) => this.plane(lon, lat));
      this.areas.set(properties.id, { ...properties, ring, middle: middleOf(ring) });
    } else if (properties.feature === "segment") {
      const line = geometry.coordinates.map(([lon, lat]) => this.plane(lon, lat));
      this.segments.set(properties.id, { ...properties, line, heading: headingOf(line) });
    } else if (properties.feature === "sensor") {
      const [x, y] = this.plane(...geometry.coordinates);
      const sensor = { ...properties, x, y };
      this.sensors.push(sensor);
      this.byPlace.set(placeKey(sensor.kind, sensor.area, sensor.id), sensor);
    }
  }

  /** The sensor of a health item, undefined where the model does not have it. */
  sensorOf(item) {
    return this.byPlace.get(placeKey(item.kind, item.area, item.sensor));
  }

  areaName(id) {
    return this.areas.get(id)?.name ?? id;
  }

  /** E.g. "Freeway fw001e, section 4, eastbound". */
  segmentName(id) {
    const segment = this.segments.get(id);
    if (!segment) return id;
    return `${words(segment.road_class)} ${segment.corridor}, section ${segment.position + 1}, ${segment.heading}`;
  }

  /** Where a segment is, for people: its name and its district. */
  segmentPlace(id) {
    const segment = this.segments.get(id);
    return segment ? `${this.segmentName(id)} · ${this.areaName(segment.area)}` : id;
  }

  /** x, y of an item: its own lon/lat, else the middle of its segment or area; null without. */
  placeOf(item) {
    if (Number.isFinite(item.lon) && Number.isFinite(item.lat)) return this.plane(item.lon, item.lat);
    const segment = this.segments.get(item.segment);
    if (segment) return pointAlong(segment.line, item.position ?? 0.5);
    return this.areas.get(item.area)?.middle ?? null;
  }
}

const placeKey = (kind, area, sensor) => `${kind}/${area}/${sensor}`;

function boundsOf(features) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  const take = (coordinates) => {
    if (typeof coordinates[0] !== "number") {
      coordinates.forEach(take);
      return;
    }
    const [lon, lat] = coordinates;
    box[0] = Math.min(box[0], lon);
    box[1] = Math.min(box[1], lat);
    box[2] = Math.max(box[2], lon);
    box[3] = Math.max(box[3], lat);
  };
  features.forEach((feature) => take(feature.geometry.coordinates));
  return Number.isFinite(box[0]) ? box : [0, 0, 0.1, 0.1];
}

function middleOf(ring) {
  const corners = ring.slice(0, -1);
  const sum = corners.reduce(([a, b], [x, y]) => [a + x, b + y], [0, 0]);
  return [sum[0] / corners.length, sum[1] / corners.length];
}

function headingOf(line) {
  const [x1, y1] = line[0];
  const [x2, y2] = line[line.length - 1];
  if (Math.abs(x2 - x1) > Math.abs(y2 - y1)) return x2 > x1 ? "eastbound" : "westbound";
  return y2 > y1 ? "southbound" : "northbound";
}

/** The point at `share` (0..1) of a line's length. */
export function pointAlong(line, share) {
  const lengths = line.slice(1).map(([x, y], i) => Math.hypot(x - line[i][0], y - line[i][1]));
  let left = Math.min(1, Math.max(0, share)) * lengths.reduce((a, b) => a + b, 0);
  for (const [i, length] of lengths.entries()) {
    if (left <= length || i === lengths.length - 1) {
      const part = length ? left / length : 0;
      const [x, y] = line[i];
      return [x + part * (line[i + 1][0] - x), y + part * (line[i + 1][1] - y)];
    }
    left -= length;
  }
  return line[0];
}
