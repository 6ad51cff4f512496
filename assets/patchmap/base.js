// The patch map: draws a trace in the browser. Gradio runs these files, joined by app/patchmap.py, once per component
// with `element`, `props` and `watch`; the value is the JSON text that app/patchmap.py makes. Fates, colours and
// sentences come from there. A picture is a clip of one frame: patches are numbered through all frames, cells show one
// frame at a time. So are the crops of one picture, each with a box of its own on the same photo. Frames of a clip that
// share their patches have the same home: the same cells are drawn on each of them.

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, given] of Object.entries(attributes)) {
    if (name === "text") node.textContent = given;
    else node.setAttribute(name, given);
  }
  node.append(...children);
  return node;
};
const SVG = "http://www.w3.org/2000/svg";
const makeSvg = (tag, attributes = {}) => {
  const node = document.createElementNS(SVG, tag);
  for (const [name, given] of Object.entries(attributes)) node.setAttribute(name, given);
  return node;
};
const percent = (part, whole) => `${(100 * part) / whole}%`;
const number = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
const clamp = (value, limit) => Math.max(0, Math.min(limit - 1, value));
const capital = (text) => text[0].toUpperCase() + text.slice(1);
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
const setIfNew = (node, name, value) => node.getAttribute(name) === value || node.setAttribute(name, value);

let map = null; // the value now drawn
let step = 0;
let frame = 0;
let chosen = 0; // the cell that has the roving focus
let mode = "fate"; // or "stage1", "stage2", "word"
let word = 0; // the word whose attention the mode "word" shows
let live = null; // what stage 1 would do at the slider's place, where that differs from the run shown
let tool = "look"; // or "keep", "drop"
let painted = new Map(); // patch -> "keep" or "drop"
let cells = [];
let parts = {};

const patchesEach = () => map.rows * map.cols;
const patchOf = (cell) => map.frames[frame].home * patchesEach() + cell;
const homes = () => map.frames.filter((own, at) => map.frames.findIndex((other) => other.home === own.home) === at);
const isClip = () => map.frames.length > 1;
const placeOf = (cell) => `row ${Math.floor(cell / map.cols) + 1}, column ${(cell % map.cols) + 1}`;

// What a step shows: the run's own, or the slider's stage 1 while that is being tried out.
const labelsAt = (at) => (live && at === 1 ? live.labels : map.steps[at].labels);
const tokensAt = (at) => (live && at === 1 ? live.tokens : map.steps[at].tokens);
const sentenceAt = (at) => (!live || at === 0 ? map.steps[at].sentence : at === 1 ? live.sentence : map.live.later + map.steps[at].sentence);
const lookOf = (patch) => map.looks[labelsAt(step)[patch]];
