// The roads as a list: the worst first, and any by its name. The map without a map.

import { element, KeyedList, setText } from "./dom.js";
import { levelOf, levelText, LEVELS } from "./level_of_service.js";
import { ListFrame, Row } from "./rows.js";
import { quantity } from "./wording.js";

export class RoadsPanel {
  constructor(root, desk) {
    this.desk = desk;
    this.topics = ["segments"];
    this.wanted = "";
    this.shares = element("p", { class: "soft" });
    const input = element("input", {
      type: "search", id: "road-search", placeholder: "district or road",
      oninput: () => {
        this.wanted = input.value.trim().toLowerCase();
        desk.refresh();
      },
    });
    const field = element("p", { class: "field" }, element("label", { for: "road-search" }, "Find a road"), input);
    root.append(this.shares, field);
    this.frame = new ListFrame(root, "No such road.", 40);
    this.list = new KeyedList(this.frame.items, () => new RoadRow(desk));
  }

  count() {
    return null; // how many are at which level of service stands below the title
  }

  show(city, now) {
    const rows = city.list("segments");
    const counts = LEVELS.map((level) => rows.filter((row) => levelOf(row) === level).length);
    setText(this.shares, LEVELS.map((level, i) => `${level.letter} ${counts[i]}`).join("  ·  "));
    const { model } = this.desk;
    const found = this.wanted
      ? rows.filter((row) => model.segmentPlace(row.id).toLowerCase().includes(this.wanted))
      : rows.filter((row) => row.level_of_service);
    setText(this.frame.empty, this.wanted ? "No such road." : "No traffic data.");
    found.sort((a, b) => (b.travel_time_index ?? 0) - (a.travel_time_index ?? 0) || a.id.localeCompare(b.id));
    this.list.show(this.frame.cut(found).map((item) => ({ ...item, now })));
  }
}

class RoadRow extends Row {
  constructor(desk) {
    super("road", () => desk.select("segment", this.item.id));
    this.desk = desk;
  }

  update(item) {
    this.item = item;
    const level = levelOf(item);
    this.show({
      badge: level.letter ?? "–",
      tone: `los-${(level.letter ?? "none").toLowerCase()}`,
      title: this.desk.model.segmentPlace(item.id),
      meta: [
        levelText(level),
        quantity(item.space_mean_speed_kmh, "km/h"),
        quantity(item.flow_veh_h, "vehicles/h"),
        item.travel_time_index ? `${quantity(item.travel_time_index, "", 2)} × free-flow time` : "",
      ],
      current: this.desk.isSelected("segment", item.id),
    });
  }
}
