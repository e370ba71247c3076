// Which part of the plane the map shows: middle and scale, and how they change.

const CLOSEST = 0.15; // metres per pixel

export class MapView extends EventTarget {
  constructor() {
    super();
    this.width = 1;
    this.height = 1;
    this.x = 0;
    this.y = 0;
    this.scale = 10; // metres per pixel
    this.bounds = [-1000, -1000, 1000, 1000];
    this.touched = false;
  }

  resize(width, height) {
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
    if (!this.touched) this.showAll();
    this.#changed();
  }

  setBounds(bounds) {
    this.bounds = bounds;
    this.showAll();
  }

  /** Show the whole city. */
  showAll() {
    const [west, north, east, south] = this.bounds;
    this.x = (west + east) / 2;
    this.y = (north + south) / 2;
    this.scale = this.#widest();
    this.touched = false;
    this.#changed();
  }

  #widest() {
    const [west, north, east, south] = this.bounds;
    return 1.06 * Math.max((east - west) / this.width, (south - north) / this.height, CLOSEST);
  }

  /** Move by pixels. */
  pan(dx, dy) {
    this.touched = true;
    const [west, north, east, south] = this.bounds;
    this.x = Math.min(east, Math.max(west, this.x - dx * this.scale));
    this.y = Math.min(south, Math.max(north, this.y - dy * this.scale));
    this.#changed();
  }

  /** Zoom by `factor` (> 1: closer) keeping the pixel (px, py) where it is; default: the middle. */
  zoom(factor, px = this.width / 2, py = this.height / 2) {
    this.touched = true;
    const [x, y] = this.toPlane(px, py);
    this.scale = Math.min(1.5 * this.#widest(), Math.max(CLOSEST, this.scale / factor));
    this.x = x - (px - this.width / 2) * this.scale;
    this.y = y - (py - this.height / 2) * this.scale;
    this.#changed();
  }

  /** Bring a point into view, no farther off than `scale` metres per pixel. */
  showPoint([x, y], scale = 6) {
    this.touched = true;
    this.x = x;
    this.y = y;
    this.scale = Math.min(this.scale, scale);
    this.#changed();
  }

  toPlane(px, py) {
    return [this.x + (px - this.width / 2) * this.scale, this.y + (py - this.height / 2) * this.scale];
  }

  toScreen(x, y) {
    return [(x - this.x) / this.scale + this.width / 2, (y - this.y) / this.scale + this.height / 2];
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
