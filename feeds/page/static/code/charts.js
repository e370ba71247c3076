// Charts of a segment's day by plotly, which is loaded when the first one is wanted.

import { palette } from "./theme.js";

let loading = null;

/** Load plotly's script once; resolves to it. */
function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("../plotly.min.js", import.meta.url).pathname;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      loading = null; // the next chart tries again
      reject(new Error("the chart library could not be loaded"));
    };
    document.head.append(script);
  });
  return loading;
}

const AXES = {
  speed: { title: "Speed, km/h", low: "speedLow", high: "speedHigh" },
  flow: { title: "Flow, vehicles/h", low: "flowLow", high: "flowHigh" },
};

/** Draw `measure` ("speed" or "flow") of `day` into `node`. */
export async function drawChart(node, day, measure) {
  const library = await plotly();
  if (!node.isConnected) return;
  const colours = palette();
  const { low, high } = AXES[measure];
  const { usual, measured, forecast } = day;
  const traces = [
    ...band(usual, low, high, colours["--band"], "usual range"),
    line("usual", usual, measure, { color: colours["--usual"], width: 1.5, dash: "dot" }),
    ...band(forecast, low, high, colours["--band-forecast"], "80 % interval"),
    line("measured", measured, measure, { color: colours["--series"], width: 2 }),
    line("forecast", forecast, measure, { color: colours["--series"], width: 2, dash: "dash" }),
  ];
  await library.react(node, traces.filter((trace) => trace.x.length), layout(day, measure, colours), {
    displayModeBar: false,
    responsive: true,
    staticPlot: true, // its figures are in the table, for fingers and keyboards too
  });
}

/** Free a chart's memory. */
export function dropChart(node) {
  if (node.classList.contains("js-plotly-plot")) window.Plotly.purge(node);
}

const times = (points) => points.map((point) => localTime(point.at));

// Plotly knows no zones: it is given local time as text without one.
function localTime(at) {
  const shifted = new Date(at - new Date(at).getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 19);
}

function line(name, points, measure, style) {
  return {
    name, type: "scatter", mode: "lines", x: times(points), y: points.map((p) => p[measure]), line: style,
  };
}

function band(points, low, high, colour, name) {
  const known = points.filter((p) => Number.isFinite(p[low]) && Number.isFinite(p[high]));
  const edge = { type: "scatter", mode: "lines", x: times(known), line: { width: 0 } };
  return [
    { ...edge, y: known.map((p) => p[high]) },
    { ...edge, y: known.map((p) => p[low]), fill: "tonexty", fillcolor: colour, name },
  ];
}

function layout(day, measure, colours) {
  const axis = {
    gridcolor: colours["--border"], zerolinecolor: colours["--border"], color: colours["--text-soft"],
    automargin: true,
  };
  const last = day.forecast.at(-1)?.at ?? day.now;
  return {
    height: 170,
    margin: { l: 44, r: 8, t: 26, b: 26 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 11, color: colours["--text-soft"] },
    title: { text: AXES[measure].title, x: 0, xref: "paper", y: 0.97, font: { size: 12, color: colours["--text"] } },
    showlegend: false, // one key stands above both charts
    xaxis: { ...axis, type: "date", tickformat: "%H:%M", range: rangeOf(day, last) },
    yaxis: { ...axis, rangemode: "tozero" },
    shapes: [
      {
        type: "line", x0: localTime(day.now), x1: localTime(day.now), yref: "paper", y0: 0, y1: 1,
        line: { color: colours["--text-soft"], width: 1, dash: "dot" },
      },
    ],
  };
}

/** From the first measured point, half an hour back at least, to the end of the forecast. */
function rangeOf(day, last) {
  const first = Math.min(day.measured[0]?.at ?? day.now, day.now - 1_800_000);
  return [localTime(first), localTime(last + 120_000)];
}
