// Finds what is near a point of the plane without looking at everything.

export class GridIndex {
  /** `cell` is the side of a cell [m]. */
  constructor(cell) {
    this.cell = cell;
    this.cells = new Map();
  }

  /** Put `thing` into every cell that the box touches. */
  add(thing, west, north, east, south) {
    for (const key of this.#keys(west, north, east, south)) {
      const held = this.cells.get(key);
      if (held) held.push(thing);
      else this.cells.set(key, [thing]);
    }
  }

  /** All things whose cells are within `radius` of (x, y); some may be farther. */
  near(x, y, radius) {
    const found = new Set();
    for (const key of this.#keys(x - radius, y - radius, x + radius, y + radius)) {
      for (const thing of this.cells.get(key) ?? []) found.add(thing);
    }
    return found;
  }

  *#keys(west, north, east, south) {
    const of = (value) => Math.floor(value / this.cell);
    for (let i = of(west); i <= of(east); i += 1) {
      for (let j = of(north); j <= of(south); j += 1) yield `${i}:${j}`;
    }
  }
}

/** Index of the segments by their lines, with the distance of a point to each. */
export class SegmentIndex {
  constructor(segments) {
    this.grid = new GridIndex(400);
    for (const segment of segments) {
      const xs = segment.line.map(([x]) => x);
      const ys = segment.line.map(([, y]) => y);
      this.grid.add(segment, Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys));
    }
  }

  /** The nearest segment within `radius` [m], null when there is none; `shift` as they are drawn. */
  nearest(x, y, radius, shift) {
    let best = null;
    let least = radius;
    for (const segment of this.grid.near(x, y, radius + shift)) {
      const distance = distanceTo(segment.line, x, y, shift);
      if (distance < least) [best, least] = [segment, distance];
    }
    return best;
  }
}

function distanceTo(line, x, y, shift) {
  let least = Infinity;
  for (let i = 1; i < line.length; i += 1) {
    const [ax, ay] = line[i - 1];
    const [dx, dy] = [line[i][0] - ax, line[i][1] - ay];
    const length = Math.hypot(dx, dy) || 1;
    const [px, py] = [x - ax + (dy / length) * shift, y - ay - (dx / length) * shift];
    const t = Math.min(1, Math.max(0, (px * dx + py * dy) / (length * length)));
    least = Math.min(least, Math.hypot(px - t * dx, py - t * dy));
  }
  return least;
}
