// How each level of service (Highway Capacity Manual, A to F) looks and what it is called.

/** Colour names are CSS variables of theme.css; width [px] and dash tell the same without colour. */
export const LEVELS = [
  { letter: "A", name: "free flow", width: 2, dash: [] },
  { letter: "B", name: "reasonably free", width: 2.4, dash: [] },
  { letter: "C", name: "stable", width: 2.8, dash: [] },
  { letter: "D", name: "dense", width: 3.6, dash: [] },
  { letter: "E", name: "at capacity", width: 4.6, dash: [9, 3] },
  { letter: "F", name: "jam", width: 5.6, dash: [4, 2.5] },
];

export const UNKNOWN = { letter: null, name: "no data", width: 1.4, dash: [1.5, 3.5] };

const byLetter = new Map(LEVELS.map((level) => [level.letter, level]));

export const levelOf = (row) => byLetter.get(row?.level_of_service) ?? UNKNOWN;

export const colourVariable = (level) => `--los-${(level.letter ?? "none").toLowerCase()}`;

/** E.g. "F (jam)". */
export const levelText = (level) => (level.letter ? `${level.letter} (${level.name})` : level.name);

/** Traffic is as usual where it flows freely or stably: A, B or C. */
export const flows = (row) => ["A", "B", "C"].includes(row.level_of_service);
