// What the map's colours, lines and shapes mean.

import { element } from "./dom.js";
import { LEVELS, UNKNOWN, colourVariable } from "./level_of_service.js";
import { drawMark } from "./marks.js";
import { palette } from "./theme.js";

const MARKS = [
  ["incident", { state: "confirmed" }, "incident"],
  ["incident", { state: "suspected" }, "suspected incident"],
  ["case", { priority: 3 }, "case of a citizen"],
  ["case", { priority: 3, breach: "breached" }, "case, late"],
  ["unit", { state: "available" }, "crew, free"],
  ["unit", { state: "en_route" }, "crew, driving"],
  ["unit", { state: "on_site" }, "crew, on site"],
  ["sensor", { health: "stuck" }, "faulty sensor"],
];

/** Draw the legend into `node` in the theme's colours. */
export function drawLegend(node) {
  const colours = palette();
  const roads = [...LEVELS, UNKNOWN].map((level) =>
    entry((context) => {
      context.strokeStyle = colours[colourVariable(level)];
      context.lineWidth = level.width * 1.2;
      context.setLineDash(level.dash);
      context.beginPath();
      context.moveTo(1, 10);
      context.lineTo(27, 10);
      context.stroke();
    }, level.letter ? `${level.letter} ${level.name}` : level.name),
  );
  const marks = MARKS.map(([kind, item, text]) =>
    entry((context) => drawMark(context, kind, 14, 10, item, colours, false), text),
  );
  node.replaceChildren(
    element("ul", { "aria-label": "Roads by level of service" }, ...roads),
    element("ul", { "aria-label": "Marks" }, ...marks),
  );
}

function entry(draw, text) {
  const ratio = devicePixelRatio || 1;
  const canvas = element("canvas", { width: 28 * ratio, height: 20 * ratio, class: "key", "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  draw(context);
  return element("li", {}, canvas, text);
}
