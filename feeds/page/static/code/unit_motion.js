// Where crews are between two of their messages: they glide on, instead of leaping.

const LONGEST_GLIDE_MS = 15_000;
const FAR_M = 4_000; // farther than any crew drives between two messages: shown at once

export class UnitMotion {
  constructor(model) {
    this.model = model;
    this.tracks = new Map();
  }

  /** Take the units' newest places in at `now` [ms, of the animation's clock]. */
  update(units, now, instantly) {
    for (const id of this.tracks.keys()) {
      if (!units.has(id)) this.tracks.delete(id);
    }
    for (const unit of units.values()) {
      const [x, y] = this.model.plane(unit.lon, unit.lat);
      const track = this.tracks.get(unit.id);
      if (!track || instantly) {
        this.tracks.set(unit.id, { x0: x, y0: y, x, y, at: unit.at, from: now, lasts: 0 });
      } else if (track.x !== x || track.y !== y) {
        const [x0, y0] = this.place(unit.id, now);
        const apart = Math.hypot(x - x0, y - y0);
        const lasts = apart > FAR_M ? 0 : Math.min(LONGEST_GLIDE_MS, Math.max(250, unit.at - track.at));
        this.tracks.set(unit.id, { x0, y0, x, y, at: unit.at, from: now, lasts });
      }
    }
  }

  /** x, y of a unit at `now`, null for one that is not known. */
  place(id, now) {
    const track = this.tracks.get(id);
    if (!track) return null;
    const part = track.lasts ? Math.min(1, (now - track.from) / track.lasts) : 1;
    return [track.x0 + part * (track.x - track.x0), track.y0 + part * (track.y - track.y0)];
  }

  /** Whether anybody is still gliding at `now`. */
  moving(now) {
    for (const track of this.tracks.values()) {
      if (track.lasts && now < track.from + track.lasts) return true;
    }
    return false;
  }
}
