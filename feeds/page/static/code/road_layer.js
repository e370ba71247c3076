// Draws districts and roads: one stroke per level of service, however many segments there are.

import { LEVELS, UNKNOWN, colourVariable, levelOf } from "./level_of_service.js";

// Right-hand traffic: each direction is drawn beside the middle of the road, so both are seen.
const SIDE_PX = 2.6;
const REBUILD_FROM = 1.15; // change of scale from which the sides would be visibly wrong

/** How far beside its line a segment is drawn at `scale` [m]. */
export const sideOf = (scale) => Math.min(SIDE_PX * scale, 60);

export class RoadLayer {
  constructor(model) {
    this.model = model;
    this.areas = outlines(model.areas.values());
    this.paths = null;
    this.pathScale = 0;
  }

  /** Segments changed: their paths are made again at the next drawing. */
  invalidate() {
    this.paths = null;
  }

  /** Draw on a context whose transform maps the plane to the canvas. */
  draw(context, view, segments, colours) {
    const change = view.scale / this.pathScale;
    if (!this.paths || change > REBUILD_FROM || change < 1 / REBUILD_FROM) {
      this.#build(segments, view.scale);
    }
    this.#drawAreas(context, view, colours);
    context.lineCap = "butt";
    for (const level of [UNKNOWN, ...LEVELS]) {
      const path = this.paths.get(level);
      if (!path) continue;
      const closer = Math.min(2.2, Math.max(1, 9 / view.scale));
      context.strokeStyle = colours[colourVariable(level)];
      context.setLineDash(level.dash.map((length) => length * view.scale));
      for (const [road, factor] of [["street", 0.85], ["freeway", 1.35]]) {
        context.lineWidth = level.width * factor * closer * view.scale;
        context.stroke(path[road]);
      }
    }
    context.setLineDash([]);
  }

  /** Write the districts' names, where one has room, on a context that takes pixels. */
  drawNames(context, view, colours) {
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillStyle = colours["--text-soft"];
    for (const area of this.model.areas.values()) {
      const xs = area.ring.map(([x]) => x);
      const room = (Math.max(...xs) - Math.min(...xs)) / view.scale;
      if (context.measureText(area.name).width + 8 > room) continue;
      const [x, y] = view.toScreen(area.middle[0], Math.min(...area.ring.map(([, top]) => top)));
      context.fillText(area.name, x, y + 22);
    }
  }

  #build(segments, scale) {
    this.paths = new Map();
    this.pathScale = scale;
    const side = sideOf(scale);
    for (const segment of this.model.segments.values()) {
      const level = levelOf(segments.get(segment.id));
      let pair = this.paths.get(level);
      if (!pair) {
        pair = { street: new Path2D(), freeway: new Path2D() };
        this.paths.set(level, pair);
      }
      trace(segment.road_class === "freeway" ? pair.freeway : pair.street, segment.line, side);
    }
  }

  #drawAreas(context, view, colours) {
    context.fillStyle = colours["--land"];
    context.fill(this.areas);
    context.lineWidth = view.scale;
    context.strokeStyle = colours["--border-area"];
    context.stroke(this.areas);
  }
}

function outlines(areas) {
  const path = new Path2D();
  for (const area of areas) {
    area.ring.forEach(([x, y], i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
    path.closePath();
  }
  return path;
}

/** Add a line to a path, moved `side` metres to the right of its direction. */
export function trace(path, line, side) {
  for (let i = 1; i < line.length; i += 1) {
    const [ax, ay] = line[i - 1];
    const [bx, by] = line[i];
    const length = Math.hypot(bx - ax, by - ay) || 1;
    const [ox, oy] = [(-(by - ay) / length) * side, ((bx - ax) / length) * side];
    if (i === 1) path.moveTo(ax + ox, ay + oy);
    path.lineTo(bx + ox, by + oy);
  }
}
