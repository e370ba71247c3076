// The time slider: the last hours out of the database, at rest or running.

import { get } from "./api.js";
import { cityNow } from "./city_time.js";
import { byId, setText } from "./dom.js";
import { complain } from "./notices.js";
import { span, time } from "./wording.js";

const HOURS = 6;
const FRAME_MS = 700; // between two pictures of a running replay
const MINUTE = 60_000;

/** Events: "live" when live is to be shown, "replay" after a past state came into `past`. */
export class Replay extends EventTarget {
  constructor(past) {
    super();
    this.past = past;
    this.at = null; // ms, null while live
    this.slider = byId("replay-at");
    this.slider.min = -HOURS * 60;
    this.slider.addEventListener("input", () => this.#slid());
    byId("replay-play").addEventListener("click", () => (this.timer ? this.pause() : this.play()));
    byId("replay-live").addEventListener("click", () => this.live());
    setInterval(() => this.#label(), 1000);
    this.#label();
  }

  get active() {
    return this.at !== null;
  }

  /** Back to the present. */
  live() {
    this.pause();
    this.at = null;
    this.slider.value = 0;
    this.#label();
    this.dispatchEvent(new Event("live"));
  }

  play() {
    if (this.at === null) this.at = cityNow() - 30 * MINUTE;
    this.timer = setInterval(() => this.#advance(), FRAME_MS);
    this.#button(true);
    this.#load();
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.#button(false);
  }

  #slid() {
    const minutes = Number(this.slider.value);
    if (minutes >= 0) {
      this.live();
      return;
    }
    this.at = cityNow() + minutes * MINUTE;
    this.#load();
  }

  #advance() {
    if (this.loading) return; // the database sets the pace when it is slower
    this.at += FRAME_MS * Number(byId("replay-speed").value);
    if (this.at >= cityNow()) this.live();
    else this.#load();
  }

  /** Load the state at `this.at`; while one is under way only the newest wish is kept. */
  async #load() {
    this.#label();
    if (this.loading) {
      this.again = true;
      return;
    }
    this.loading = true;
    try {
      do {
        this.again = false;
        const at = Math.round(this.at);
        const found = await get("state", { at });
        if (this.at === null) return;
        this.past.replace(found.state ?? found, at);
        this.dispatchEvent(new Event("replay"));
      } while (this.again && this.at !== null);
    } catch (error) {
      this.live();
      complain(`The past cannot be shown: ${error.message}`);
    } finally {
      this.loading = false;
    }
  }

  #button(playing) {
    const button = byId("replay-play");
    setText(button, playing ? "⏸" : "▶");
    button.setAttribute("aria-label", playing ? "Pause the replay" : "Replay");
  }

  #label() {
    const back = this.at === null ? 0 : (this.at - cityNow()) / MINUTE;
    this.slider.value = back;
    const text = this.at === null ? "now" : `${time(this.at)}, ${span(cityNow() - this.at)} ago`;
    setText(byId("replay-time"), text);
    this.slider.setAttribute("aria-valuetext", text);
    byId("replay-live").setAttribute("aria-pressed", String(this.at === null));
  }
}
