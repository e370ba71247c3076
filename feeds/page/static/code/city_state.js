// What is known of the city at one moment: per topic the newest item of each id.

/** Topics as the live feed names them. */
export const TOPICS = [
  "segments", "environment", "incidents", "anomalies", "alerts", "cases", "units", "allocations",
  "health", "demand", "ledger", "status",
];

export class CityState extends EventTarget {
  constructor() {
    super();
    this.topics = new Map(TOPICS.map((topic) => [topic, new Map()]));
    this.at = 0;
  }

  /** The items of a topic by id. */
  of(topic) {
    return this.topics.get(topic);
  }

  list(topic) {
    return [...this.topics.get(topic).values()];
  }

  /** Forget everything and hold `state`: {topic: [item, ...]}. */
  replace(state, at) {
    for (const items of this.topics.values()) items.clear();
    this.#put(state);
    this.at = at;
    this.#tell(TOPICS);
  }

  /** Put `changes` in: an item replaces that of its id as a whole, one that is gone removes it. */
  merge(changes, at) {
    this.#put(changes);
    this.at = Math.max(this.at, at ?? 0);
    this.#tell(Object.keys(changes));
  }

  #put(changes) {
    for (const [topic, items] of Object.entries(changes)) {
      const held = this.topics.get(topic);
      if (!held) continue; // a topic of a newer server
      for (const item of items) {
        if (item.gone) held.delete(item.id);
        else held.set(item.id, item);
      }
    }
  }

  #tell(topics) {
    this.dispatchEvent(new CustomEvent("change", { detail: new Set(topics) }));
  }
}
