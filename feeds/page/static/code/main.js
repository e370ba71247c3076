// Puts the page together: the live feed and the time slider fill the map and the lists.

import { AlertsPanel } from "./alerts_panel.js";
import { get, onSignInNeeded } from "./api.js";
import { askForToken } from "./ask.js";
import { CasesPanel } from "./cases_panel.js";
import { CityMap } from "./city_map.js";
import { CityModel } from "./city_model.js";
import { CityState, TOPICS } from "./city_state.js";
import { clockMode, setClock } from "./city_time.js";
import { Desk } from "./desk.js";
import { shownStatus, statusOf } from "./data_status.js";
import { byId, setAttribute, setText } from "./dom.js";
import { IncidentsPanel } from "./incidents_panel.js";
import { drawLegend } from "./legend.js";
import { LiveFeed } from "./live_feed.js";
import { takeInput } from "./map_input.js";
import { AlertAnnouncer, announce, complain } from "./notices.js";
import { Replay } from "./replay.js";
import { RoadsPanel } from "./roads_panel.js";
import { SegmentDetail } from "./segment_detail.js";
import { SensorsPanel } from "./sensors_panel.js";
import { summaryOf } from "./summary.js";
import { SystemPanel } from "./system_panel.js";
import { Tabs } from "./tabs.js";
import { followTheme } from "./theme.js";
import { showTooltip } from "./tooltip.js";
import { UnitsPanel } from "./units_panel.js";
import { dateAndTime, time, timeWithSeconds } from "./wording.js";

const LISTS_EVERY_MS = 400; // people read no faster, and screen readers neither
const PANELS = {
  alerts: AlertsPanel, cases: CasesPanel, incidents: IncidentsPanel, units: UnitsPanel,
  roads: RoadsPanel, sensors: SensorsPanel, system: SystemPanel,
};
const EVERYTHING = new Set(TOPICS);
const PANEL_OF = { case: "cases", incident: "incidents", unit: "units", sensor: "sensors" };
const still = matchMedia("(prefers-reduced-motion: reduce)");

const live = new CityState();
const past = new CityState();
const replay = new Replay(past);
const desk = new Desk(live, past, replay);
const feed = new LiveFeed(live);
const map = new CityMap(byId("map-ground"), byId("map-marks"), () => still.matches);
const detail = new SegmentDetail(desk);
const announcer = new AlertAnnouncer();
let panels = new Map();
let tabs = null;
let mapped = false;
let shown = null; // the state in the header
const waiting = new Set(); // topics whose lists are out of date
let linked = new URLSearchParams(location.search).get("alert"); // from a mail or another system

function listsSoon(topics) {
  for (const topic of topics) waiting.add(topic);
}

function showLists() {
  if (!tabs || !waiting.size) return;
  const { city } = desk;
  const now = desk.now();
  for (const [name, panel] of panels) {
    if (!panel.topics.some((topic) => waiting.has(topic))) continue;
    tabs.count(name, panel.count(city));
    if (tabs.shown(name)) panel.show(city, now);
  }
  setText(byId("summary"), summaryOf(city));
  if (waiting.has("segments")) detail.update(city);
  waiting.clear();
}

function showAll(instantly) {
  map.show(desk.city, EVERYTHING, instantly);
  listsSoon(EVERYTHING);
  showLists();
  showConnection();
}

function showConnection() {
  const status = shownStatus(feed.status, statusOf(live), Date.now());
  const { state, text, detail } = replay.active ? { ...status, state: "replay", text: "replay" } : status;
  const chip = byId("connection");
  chip.dataset.state = state;
  setAttribute(chip, "title", detail || null);
  setText(byId("connection-text"), text);
  const fault = replay.active || !status.since ? "" : status.detail;
  setText(byId("flow-fault"), fault);
  byId("flow-fault").hidden = !fault;
  const old = !replay.active && (status.since !== null || status.state === "delayed");
  setAttribute(byId("summary"), "data-old", old);
  document.documentElement.dataset.mode = replay.active ? "replay" : "live";
  if (state === shown) return;
  if (shown !== null && shown !== "connecting") announce(`${text}. ${detail}`);
  shown = state;
}

function showClock() {
  const now = desk.now();
  const mode = replay.active ? "" : clockMode();
  setText(byId("clock"), mode ? dateAndTime(now) : timeWithSeconds(now));
  setText(byId("clock-mode"), mode);
  byId("clock-mode").hidden = !mode;
  byId("clock").dateTime = new Date(now).toISOString();
  byId("clock").title = `Data as of ${desk.city.at ? time(desk.city.at) : "–"}`;
}

function recolour() {
  drawLegend(byId("legend-body"));
  map.recolour();
  detail.recolour();
}

function connectParts() {
  live.addEventListener("change", ({ detail: topics }) => {
    if (topics.has("status")) showConnection();
    if (topics.has("ledger")) panels.get("system")?.note(live);
    if (topics.has("alerts")) {
      announcer.look(live.list("alerts"));
      followLink();
    }
    if (replay.active) return;
    map.show(live, topics, topics.size === TOPICS.length);
    listsSoon(topics);
  });
  replay.addEventListener("replay", () => showAll(true));
  replay.addEventListener("live", () => showAll(true));
  feed.addEventListener("status", () => {
    showConnection();
    if (feed.status === "refused") askForToken(signedIn);
  });
  onSignInNeeded(() => askForToken(signedIn));
  map.addEventListener("select", ({ detail: mark }) => desk.select(mark?.kind, mark?.id, false));
  desk.addEventListener("select", ({ detail: bring }) => showSelection(bring));
  desk.addEventListener("refresh", () => {
    listsSoon(EVERYTHING);
    showLists();
  });
  takeInput(byId("map-marks"), map, (mark, x, y) =>
    desk.model && showTooltip(byId("tooltip"), desk.model, desk.city, mark, x, y));
  byId("zoom-in").addEventListener("click", () => map.view.zoom(1.5));
  byId("zoom-out").addEventListener("click", () => map.view.zoom(1 / 1.5));
  byId("zoom-all").addEventListener("click", () => map.view.showAll());
}

function showSelection(bring) {
  const { selection } = desk;
  detail.open(selection?.kind === "segment" ? selection.id : null, desk.city);
  map.select(selection, bring);
  const panel = PANEL_OF[selection?.kind];
  if (panel && !bring) tabs.choose(panel); // chosen on the map: show its row
  desk.refresh();
  if (panel && !bring) {
    const row = byId(`panel-${panel}`).querySelector("[data-current]");
    row?.scrollIntoView({ block: "nearest", behavior: still.matches ? "auto" : "smooth" });
  }
}

function followLink() {
  const alert = linked && desk.model && live.of("alerts").get(linked);
  if (!alert) return;
  linked = null;
  tabs.choose("alerts");
  desk.selectSubject(alert.subject, alert.area);
}

function signedIn() {
  loadCity();
  feed.restart();
}

async function loadCity() {
  if (mapped) return;
  try {
    setClock(await get("clock"));
    useModel(new CityModel(await get("city")));
    mapped = true;
    byId("map-missing").hidden = true;
  } catch (error) {
    if (error.status === 401) return; // the sign-in form is open
    if (error.status === 404) showWithoutMap(error.message);
    else complain(`The city’s map cannot be loaded: ${error.message}`);
    setTimeout(loadCity, error.status === 404 ? 30_000 : 5_000);
  }
}

/** Where no city model was ever loaded there is all but the map. */
function showWithoutMap(reason) {
  if (!desk.model) useModel(new CityModel({ features: [] }));
  setText(byId("map-missing"), `No map: ${reason}. The lists show what comes in.`);
  byId("map-missing").hidden = false;
}

function useModel(model) {
  desk.model = model;
  map.setModel(model);
  if (!tabs) {
    panels = new Map(Object.entries(PANELS).map(([name, Panel]) => [name, new Panel(byId(`panel-${name}`), desk)]));
    tabs = new Tabs([...panels.keys()], () => desk.refresh());
  }
  showAll(true);
  followLink();
}

byId("legend").open = matchMedia("(min-width: 801px)").matches;
connectParts();
followTheme(byId("theme"), recolour);
feed.start();
loadCity();
setInterval(showLists, LISTS_EVERY_MS);
setInterval(showClock, 1_000);
setInterval(showConnection, 1_000); // how long a fault lasts
// Ages ("12 min") grow without news.
setInterval(() => listsSoon(EVERYTHING), 15_000);
showClock();
showConnection();
// For tests and for people who look behind the scenes.
window.civicstream = { desk, map, feed };
