// Follows the live feed: snapshot, then deltas without a hole; says whether it is up to date.

import { cityTimeAt } from "./city_time.js";
import { TOPICS } from "./city_state.js";

// Heartbeats come every 15 s: when two are missing, something between us and the city is slow.
const DELAYED_AFTER_MS = 35_000;
const LOOK_EVERY_MS = 1_000;
const LONGEST_WAIT_MS = 20_000;

/**
 * Events of it: "state" with detail "live", "delayed" or "refused" (sign-in needed).
 * What arrives goes into `state` (a CityState).
 */
export class LiveFeed extends EventTarget {
  constructor(state, url = "/api/v1/live") {
    super();
    this.city = state;
    this.url = `${url}?topics=${TOPICS.join(",")}`;
    this.status = "connecting";
    this.sequence = null;
    this.lastId = null;
    this.heardAt = Date.now();
    this.attempts = 0;
    this.conflations = 0;
  }

  start() {
    this.#connect();
    setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** Connect again at once, e.g. after a sign-in. */
  restart() {
    clearTimeout(this.timer);
    this.source?.close();
    this.#connect();
  }

  #connect() {
    const resume = this.lastId ? `&last_event_id=${encodeURIComponent(this.lastId)}` : "";
    const source = new EventSource(this.url + resume);
    this.source = source;
    const receive = (name, use) =>
      source.addEventListener(name, (event) => this.#receive(event, use));
    receive("snapshot", (data) => this.#start(data));
    receive("delta", (data) => this.#follow(data, data.seq - 1));
    receive("conflated", (data) => {
      this.conflations += 1;
      this.#follow(data, data.from);
    });
    receive("heartbeat", () => {});
    source.addEventListener("error", () => this.#failed(source));
  }

  #receive(event, use) {
    const data = JSON.parse(event.data);
    this.heardAt = Date.now();
    this.attempts = 0;
    if (event.lastEventId) this.lastId = event.lastEventId;
    use(data);
    if (this.sequence !== null) this.#say("live");
  }

  #start(data) {
    this.sequence = data.seq;
    this.city.replace(data.state, cityTimeAt(data.at));
  }

  #follow(data, from) {
    if (this.sequence !== null && data.seq <= this.sequence) return; // heard before a reconnection
    if (this.sequence === null || from > this.sequence) {
      // A hole: only a fresh snapshot is true now.
      this.lastId = null;
      this.sequence = null;
      this.restart();
      return;
    }
    this.sequence = data.seq;
    this.city.merge(data.changes, cityTimeAt(data.at));
  }

  #failed(source) {
    if (source !== this.source) return;
    this.#say("delayed");
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    this.attempts += 1;
    const wait = Math.min(LONGEST_WAIT_MS, 500 * 2 ** Math.min(this.attempts, 6));
    this.timer = setTimeout(() => this.#tryAgain(), wait * (0.5 + Math.random()));
  }

  /** EventSource does not tell why it was refused; a small request does. */
  async #tryAgain() {
    try {
      const answer = await fetch("/api/v1/areas?limit=1", { cache: "no-store" });
      if (answer.status === 401) {
        this.#say("refused");
        return;
      }
    } catch {
      // away still; EventSource will say so again
    }
    this.#connect();
  }

  #look() {
    if (Date.now() - this.heardAt > DELAYED_AFTER_MS && this.status === "live") {
      this.#say("delayed");
    }
  }

  #say(status) {
    if (status === this.status) return;
    this.status = status;
    this.dispatchEvent(new CustomEvent("status", { detail: status }));
  }
}
