// What is said of the thing under the pointer.

import { levelOf, levelText } from "./level_of_service.js";
import { due, percent, quantity, words } from "./wording.js";

const TEXTS = {
  segment(model, city, { id }) {
    const row = city.of("segments").get(id);
    const speed = quantity(row?.space_mean_speed_kmh, "km/h");
    return [model.segmentPlace(id), `${levelText(levelOf(row))} · ${speed} · ${quantity(row?.flow_veh_h, "veh/h")}`];
  },
  incident: (model, city, { item }) => [
    `Incident, ${item.state}`,
    `${model.segmentPlace(item.segment)} · ${percent(item.severity)} of the capacity lost`,
  ],
  case: (model, city, { item }) => [
    `${words(item.service)}: ${words(item.state).toLowerCase()}`,
    `${model.areaName(item.area)} · ${due(item.due_at, city.at)}`,
  ],
  unit: (model, city, { item }) => [item.id, words(item.state).toLowerCase()],
  sensor: (model, city, { item }) => [
    `${words(item.kind)} sensor ${item.sensor ?? item.id}`,
    item.health && item.health !== "ok" ? `${item.health}: ${item.reason}` : "healthy",
  ],
};

/** Show what is known of `mark` beside pixel (x, y) of the map; null hides it. */
export function showTooltip(node, model, city, mark, x, y) {
  node.hidden = !mark;
  if (!mark) return;
  const [title, text] = TEXTS[mark.kind](model, city, mark);
  node.replaceChildren(Object.assign(document.createElement("strong"), { textContent: title }), document.createElement("br"), text);
  const room = node.parentElement;
  const left = Math.min(x + 14, room.clientWidth - node.offsetWidth - 6);
  const top = y + 18 + node.offsetHeight > room.clientHeight ? y - node.offsetHeight - 10 : y + 18;
  node.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
}
