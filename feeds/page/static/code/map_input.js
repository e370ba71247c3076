// Mouse, touch and keyboard on the map.

const CLICK_SLACK_PX = 5;
const KEY_STEP_PX = 80;

/** Let `canvas` move and select on `map`; `tooltip(mark, x, y)` shows what is under the pointer. */
export function takeInput(canvas, map, tooltip) {
  const pointers = new Map();
  let travelled = 0;
  let gap = 0;

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    if (pointers.size === 1) travelled = 0;
    gap = apart(pointers);
  });

  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      tooltip(map.hit(x, y), x, y);
      return;
    }
    pointers.set(event.pointerId, [x, y]);
    travelled += Math.hypot(x - before[0], y - before[1]);
    if (travelled <= CLICK_SLACK_PX) return;
    tooltip(null);
    map.view.pan((x - before[0]) / pointers.size, (y - before[1]) / pointers.size);
    const now = apart(pointers);
    if (gap && now) map.view.zoom(now / gap, ...middle(pointers));
    gap = now;
  });

  const release = (event) => {
    const known = pointers.delete(event.pointerId);
    gap = apart(pointers);
    if (known && event.type === "pointerup" && travelled <= CLICK_SLACK_PX) {
      choose(map, map.hit(...at(event)));
    }
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => tooltip(null));
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 18 : 1);
      map.view.zoom(Math.exp(-Math.max(-240, Math.min(240, pixels)) / 300), ...at(event));
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => pressed(event, map));
}

function choose(map, mark) {
  map.dispatchEvent(new CustomEvent("select", { detail: mark && { kind: mark.kind, id: mark.id } }));
}

function pressed(event, map) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { view } = map;
  const actions = {
    ArrowLeft: () => view.pan(KEY_STEP_PX, 0),
    ArrowRight: () => view.pan(-KEY_STEP_PX, 0),
    ArrowUp: () => view.pan(0, KEY_STEP_PX),
    ArrowDown: () => view.pan(0, -KEY_STEP_PX),
    "+": () => view.zoom(1.4),
    "=": () => view.zoom(1.4),
    "-": () => view.zoom(1 / 1.4),
    0: () => view.showAll(),
    n: () => step(map, 1),
    p: () => step(map, -1),
    Enter: () => choose(map, map.hit(view.width / 2, view.height / 2)),
    Escape: () => choose(map, null),
  };
  const act = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

/** Select the next or previous mark and bring it to the middle. */
function step(map, by) {
  const stops = map.stops();
  if (!stops.length) return;
  const at = stops.findIndex((m) => m.kind === map.selection?.kind && m.id === map.selection?.id);
  const next = stops[(at + by + stops.length + (at < 0 && by < 0 ? 1 : 0)) % stops.length];
  map.view.showPoint([next.x, next.y]);
  choose(map, next);
}

function apart(pointers) {
  if (pointers.size !== 2) return 0;
  const [[ax, ay], [bx, by]] = pointers.values();
  return Math.hypot(ax - bx, ay - by);
}

function middle(pointers) {
  const [[ax, ay], [bx, by]] = pointers.values();
  return [(ax + bx) / 2, (ay + by) / 2];
}
