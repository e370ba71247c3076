// The shapes on the map. Each kind has its own shape, so none is told by colour alone.

const outline = (context, colours, width = 1.5) => {
  context.lineWidth = width;
  context.strokeStyle = colours["--mark-edge"];
  context.stroke();
};

const SHAPES = {
  incident(context, x, y, size, colours, item) {
    polygon(context, x, y, [[0, -size], [size, size * 0.8], [-size, size * 0.8]]);
    context.fillStyle = colours[item.state === "suspected" ? "--suspected" : "--severe"];
    context.fill();
    outline(context, colours);
    letter(context, x, y + size * 0.2, "!", size * 1.3, colours);
  },
  case(context, x, y, size, colours, item) {
    const half = size * 0.72;
    context.beginPath();
    context.roundRect(x - half, y - half, 2 * half, 2 * half, 3);
    const late = item.breach === "breached";
    context.fillStyle = colours[late ? "--severe" : item.priority <= 2 ? "--moderate" : "--case"];
    context.fill();
    outline(context, colours);
    if (late || item.priority === 1) letter(context, x, y, late ? "!" : "1", size * 1.1, colours);
  },
  unit(context, x, y, size, colours, item) {
    const busy = item.state !== "available" && item.state !== "off_duty";
    context.beginPath();
    context.arc(x, y, size * 0.78, 0, 2 * Math.PI);
    context.fillStyle = colours[busy ? "--unit" : "--surface"];
    context.fill();
    context.lineWidth = 2.2;
    context.strokeStyle = colours[busy ? "--mark-edge" : "--unit"];
    context.stroke();
    if (item.state === "on_site") square(context, x, y, size * 0.3, colours["--on-mark"]);
    else if (busy) {
      polygon(context, x, y, [[-size * 0.3, -size * 0.38], [size * 0.45, 0], [-size * 0.3, size * 0.38]]);
      context.fillStyle = colours["--on-mark"];
      context.fill();
    }
  },
  sensor(context, x, y, size, colours, item) {
    if (!item.health || item.health === "ok") {
      square(context, x, y, 1.7, colours["--sensor-ok"]);
      return;
    }
    const half = size * 0.5;
    polygon(context, x, y, [[0, -half], [half, 0], [0, half], [-half, 0]]);
    context.fillStyle = colours["--surface"];
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = colours["--sensor-bad"];
    context.stroke();
    if (item.health !== "silent") return;
    context.beginPath();
    context.moveTo(x - half, y);
    context.lineTo(x + half, y);
    context.stroke();
  },
};

const SIZES = { incident: 10, case: 8, unit: 9, sensor: 10 };

/** Draw one mark at pixel (x, y); a selected one is ringed. */
export function drawMark(context, kind, x, y, item, colours, selected) {
  const size = SIZES[kind];
  if (selected) {
    context.beginPath();
    context.arc(x, y, size + 6, 0, 2 * Math.PI);
    context.lineWidth = 3;
    context.strokeStyle = colours["--focus"];
    context.stroke();
  }
  SHAPES[kind](context, x, y, size, colours, item);
}

function polygon(context, x, y, corners) {
  context.beginPath();
  corners.forEach(([dx, dy], i) => (i ? context.lineTo(x + dx, y + dy) : context.moveTo(x + dx, y + dy)));
  context.closePath();
}

function square(context, x, y, half, colour) {
  context.fillStyle = colour;
  context.fillRect(x - half, y - half, 2 * half, 2 * half);
}

function letter(context, x, y, text, size, colours) {
  context.fillStyle = colours["--on-mark"];
  context.font = `700 ${size}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, x, y);
}
