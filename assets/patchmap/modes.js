// ---- modes: what the colours on the picture mean -----------------------------------------------------------------

const MODES = { fate: "Fate", stage1: "Stage-1 score", stage2: "Stage-2 score", word: "Per word" };
const HEAT_ALPHA = 0.88; // the rest is the photo, grey, so that places are still recognised
const known = (values) => Boolean(values?.some((value) => value !== null));

// One row per word at a pruning layer, the prompt's last token behind them where the run recorded it.
const rowsOf = (drop) => [...(drop.by_word ?? []), ...(drop.by_word && drop.by_end ? [drop.by_end] : [])];
const lateValues = (drop, name) => (name === "word" ? rowsOf(drop)[word] : drop.scores);
const lateOf = (name) => map.late.map((_, at) => at).filter((at) => known(lateValues(map.late[at], name)));
const modeHolds = (name) =>
  name === "fate" || (name === "stage1" ? known(map.stage1) : lateOf(name).length > 0);
const ofLayers = () => mode === "stage2" || mode === "word";

// The pruning layer whose scores are shown: the step's own, else the nearest before it, else the first.
function lateShown() {
  const at = lateOf(mode);
  return map.late[at.filter((each) => each <= step - 2).at(-1) ?? at[0]];
}

const valuesShown = () => (mode === "stage1" ? map.stage1 : lateValues(lateShown(), mode));

function heatTitle() {
  if (mode === "stage1") return "Stage-1 score";
  const before = `before layer ${lateShown().layer}`;
  return mode === "stage2" ? `Stage-2 score ${before}` : `Attention of “${wordNames()[word]}” ${before}`;
}

function modes() {
  const group = make("div", { class: "pm-modes", role: "group", "aria-label": "What the picture shows" });
  for (const [name, text] of Object.entries(MODES)) {
    const made = button(text, { class: "pm-mode", "data-mode": name }, () => setMode(name));
    made.disabled = !modeHolds(name);
    if (made.disabled) made.title = map.missing[name];
    group.append(made);
  }
  parts.modes = group;
  return group;
}

function setMode(name) {
  mode = name;
  goTo(ofLayers() && step < 2 ? lateOf(mode)[0] + 2 : step);
}

function layerButtons() {
  if (!ofLayers()) return [];
  const shown = lateShown();
  return lateOf(mode).map((at) => {
    const { layer } = map.late[at];
    const pressed = { "aria-pressed": String(map.late[at] === shown), class: "pm-layer", "data-layer": layer };
    return button(`layer ${layer}`, pressed, () => goTo(at + 2, () => parts.scale.querySelector(`[data-layer="${layer}"]`)));
  });
}

function tellMode() {
  for (const made of parts.modes.children) setIfNew(made, "aria-pressed", String(made.dataset.mode === mode));
  for (const node of [parts.legends, parts.board]) node.dataset.mode = mode === "fate" ? "fate" : "heat";
  parts.fates.setAttribute("aria-hidden", String(mode !== "fate"));
  parts.scale.replaceChildren(...(mode === "fate" ? [] : heatLegend()));
  tellWords();
}

// ---- the scale ---------------------------------------------------------------------------------------------------

const ranges = new WeakMap();

// Scores lie orders of magnitude apart: where all are positive, equal steps of colour are equal ratios.
function rangeOf(values) {
  if (!ranges.has(values)) {
    const there = values.filter((value) => value !== null);
    const [least, most] = there.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    ranges.set(values, { least, most, log: least > 0 && most > 4 * least });
  }
  return ranges.get(values);
}

function shareOf(value, { least, most, log }) {
  if (most === least) return 0.5;
  return log ? Math.log(value / least) / Math.log(most / least) : (value - least) / (most - least);
}

let colours = [];
function coloursOf(stops) {
  if (colours.length) return colours;
  const rgb = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  colours = Array.from({ length: 256 }, (_, at) => {
    const place = (at / 255) * (rgb.length - 1);
    const low = Math.min(Math.floor(place), rgb.length - 2);
    const mixed = rgb[low].map((part, c) => Math.round(part + (rgb[low + 1][c] - part) * (place - low)));
    return `rgb(${mixed.join(",")})`;
  });
  return colours;
}

function paintHeat(pen, boxOf) {
  const values = valuesShown();
  const [range, scale, paper] = [rangeOf(values), coloursOf(map.scale), paperColour()];
  for (let cell = 0; cell < cells.length; cell++) {
    const value = values[patchOf(cell)];
    if (value === null) hatch(pen, boxOf(cell), paper);
    else {
      pen.globalAlpha = HEAT_ALPHA;
      pen.fillStyle = scale[Math.round(255 * shareOf(value, range))];
      pen.fillRect(...boxOf(cell));
    }
  }
  pen.globalAlpha = 1;
}

// A patch without a score: faded, with one slanted line.
function hatch(pen, [x, y, width, height], paper) {
  pen.globalAlpha = 0.82;
  pen.fillStyle = paper;
  pen.fillRect(x, y, width, height);
  pen.globalAlpha = 0.5;
  pen.strokeStyle = "#888";
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(x + 0.25 * width, y + 0.75 * height);
  pen.lineTo(x + 0.75 * width, y + 0.25 * height);
  pen.stroke();
}

// ---- legends -----------------------------------------------------------------------------------------------------

// Both legends take the same place, so that nothing moves when the mode changes.
function legends() {
  parts.fates = legend();
  parts.scale = make("div", { class: "pm-scale" });
  parts.legends = make("div", { class: "pm-legends" }, parts.fates, parts.scale);
  return parts.legends;
}

function legend() {
  const list = make("ul", { class: "pm-legend", "aria-label": "Legend" });
  for (const look of map.looks) {
    const swatch = make("span", { class: "pm-swatch", "data-fate": look.fate, "aria-hidden": "true" });
    list.append(make("li", { "data-legend": look.fate }, swatch, make("span", { text: look.name })));
  }
  return list;
}

function heatLegend() {
  const values = valuesShown();
  const { least, most, log } = rangeOf(values);
  const ramp = make("div", { class: "pm-ramp", "aria-hidden": "true" });
  ramp.style.background = `linear-gradient(to right, ${map.scale.join(", ")})`;
  const ends = make("div", { class: "pm-ends" });
  ends.append(make("span", { class: "pm-least", text: `min ${number(least)}` }), make("span", { class: "pm-most", text: `max ${number(most)}` }));
  const notes = [log ? "Logarithmic: equal steps of colour are equal ratios." : "Linear."];
  if (values.includes(null)) notes.push("Slanted line: no token here any more.");
  const layers = make("div", { class: "pm-layers", role: "group", "aria-label": "Pruning layer" }, ...layerButtons());
  return [make("strong", { text: heatTitle() }), layers, ramp, ends, make("p", { text: notes.join(" ") })];
}
