// The map: two canvases (roads below, marks above) that are drawn only when something changed.

import { CityMarks } from "./city_marks.js";
import { SegmentIndex } from "./grid_index.js";
import { MapView } from "./map_view.js";
import { drawMark } from "./marks.js";
import { RoadLayer, sideOf, trace } from "./road_layer.js";
import { routesOf } from "./routes.js";
import { palette } from "./theme.js";
import { UnitMotion } from "./unit_motion.js";

const ROAD_REACH_PX = 10;
const ROUTE_BESIDE_PX = 4.5;
const MARK_TOPICS = ["incidents", "cases", "units", "health", "allocations"];

/** Events: "select" with detail {kind, id}, null for nothing. */
export class CityMap extends EventTarget {
  constructor(ground, top, calm) {
    super();
    this.canvases = [ground, top];
    this.view = new MapView();
    this.calm = calm; // whether motion is to be reduced
    this.selection = null;
    this.dirty = { ground: true, marks: true };
    this.frames = [];
    this.view.addEventListener("change", () => this.#redraw(true));
    new ResizeObserver(() => this.#resize()).observe(top.parentElement);
  }

  /** Show `model`; before that the map is empty. */
  setModel(model) {
    this.model = model;
    this.roads = new RoadLayer(model);
    this.index = new SegmentIndex(model.segments.values());
    this.motion = new UnitMotion(model);
    this.marks = new CityMarks(model, this.motion);
    this.view.setBounds(model.bounds);
  }

  /** Show `city` from now on: all of it, or what `topics` (a Set) say has changed. */
  show(city, topics, instantly = false) {
    if (!this.model) return;
    this.city = city;
    if (topics.has("segments")) this.roads.invalidate();
    if (MARK_TOPICS.some((topic) => topics.has(topic))) {
      if (topics.has("units")) {
        this.motion.update(city.of("units"), performance.now(), instantly || this.calm());
      }
      this.marks.update(city);
      this.routes = routesOf(city);
    }
    this.#redraw(topics.has("segments"));
  }

  /** Mark {kind, id} as selected; with `bring` the map goes there. */
  select(selection, bring) {
    this.selection = selection;
    const place = bring && selection && this.#placeOf(selection);
    if (place) this.view.showPoint(place);
    this.#redraw(true);
  }

  recolour() {
    this.#redraw(true);
  }

  /** What is at pixel (px, py): {kind, id, item} or null. */
  hit(px, py) {
    if (!this.city) return null;
    const mark = this.marks.nearest(px, py, performance.now(), this.view);
    if (mark) return mark;
    const [x, y] = this.view.toPlane(px, py);
    const { scale } = this.view;
    const segment = this.index.nearest(x, y, ROAD_REACH_PX * scale, sideOf(scale));
    return segment && { kind: "segment", id: segment.id, item: segment };
  }

  /** The marks one can go through by keyboard, from west to east. */
  stops() {
    if (!this.city) return [];
    const marks = [...this.marks.at(performance.now(), { scale: Infinity })];
    return marks.sort((a, b) => a.x - b.x || a.y - b.y);
  }

  #placeOf({ kind, id }) {
    if (kind === "segment") return this.model.placeOf({ segment: id });
    if (kind === "area") return this.model.areas.get(id)?.middle;
    const found = this.stops().find((mark) => mark.kind === kind && mark.id === id);
    return found && [found.x, found.y];
  }

  #resize() {
    const { clientWidth, clientHeight } = this.canvases[0].parentElement;
    const ratio = devicePixelRatio || 1;
    for (const canvas of this.canvases) {
      canvas.width = Math.round(clientWidth * ratio);
      canvas.height = Math.round(clientHeight * ratio);
    }
    this.view.resize(clientWidth, clientHeight);
  }

  #redraw(ground) {
    this.dirty.ground ||= ground;
    this.dirty.marks = true;
    this.frame ??= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.frame = null;
    if (!this.city) return;
    const began = performance.now();
    const colours = palette();
    if (this.dirty.ground) this.#drawGround(colours);
    this.#drawMarks(colours, began);
    this.dirty = { ground: false, marks: false };
    this.frames.push(performance.now() - began);
    if (this.frames.length > 600) this.frames.shift();
    if (!this.calm() && this.motion.moving(began)) this.#redraw(false);
  }

  #drawGround(colours) {
    const [canvas] = this.canvases;
    const context = canvas.getContext("2d", { alpha: false });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = colours["--outside"];
    context.fillRect(0, 0, canvas.width, canvas.height);
    this.#toPlane(context);
    this.roads.draw(context, this.view, this.city.of("segments"), colours);
    const ratio = devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.roads.drawNames(context, this.view, colours);
  }

  #drawMarks(colours, now) {
    const canvas = this.canvases[1];
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    this.#toPlane(context);
    this.#drawRoutes(context, colours);
    if (this.selection?.kind === "segment") this.#ringSegment(context, colours);
    const ratio = devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    for (const mark of this.marks.at(now, this.view)) {
      const [x, y] = this.view.toScreen(mark.x, mark.y);
      if (x < -20 || y < -20 || x > this.view.width + 20 || y > this.view.height + 20) continue;
      const selected = this.selection?.kind === mark.kind && this.selection.id === mark.id;
      drawMark(context, mark.kind, x, y, mark.item, colours, selected);
    }
  }

  #drawRoutes(context, colours) {
    const { scale } = this.view;
    for (const route of this.routes ?? []) {
      const chosen = this.selection && [route.unit, route.thing].includes(this.selection.id);
      if (!route.driving && !chosen) continue;
      const path = new Path2D();
      for (const id of route.segments) {
        const segment = this.model.segments.get(id);
        // Beside the road, so that its level of service stays visible.
        if (segment) trace(path, segment.line, sideOf(scale) + ROUTE_BESIDE_PX * scale);
      }
      context.strokeStyle = colours["--route"];
      context.lineWidth = (chosen ? 3.5 : 1.8) * scale;
      context.setLineDash(route.driving ? [] : [6 * scale, 5 * scale]);
      context.stroke(path);
    }
    context.setLineDash([]);
  }

  #ringSegment(context, colours) {
    const segment = this.model.segments.get(this.selection.id);
    if (!segment) return;
    const path = new Path2D();
    trace(path, segment.line, sideOf(this.view.scale));
    context.strokeStyle = colours["--focus"];
    context.lineCap = "round";
    context.globalAlpha = 0.55;
    context.lineWidth = 14 * this.view.scale;
    context.stroke(path);
    context.globalAlpha = 1;
    context.lineCap = "butt";
  }

  /** Let the context take metres of the plane. */
  #toPlane(context) {
    const ratio = devicePixelRatio || 1;
    const { view } = this;
    const k = ratio / view.scale;
    context.setTransform(k, 0, 0, k, ratio * view.width / 2 - k * view.x, ratio * view.height / 2 - k * view.y);
  }
}
