// The patch map: draws a trace in the browser. Gradio runs this once per component with `element`, `props` and
// `watch`; the value is the JSON text that app/patchmap.py makes. Fates, colours and sentences come from there.

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, given] of Object.entries(attributes)) {
    if (name === "text") node.textContent = given;
    else node.setAttribute(name, given);
  }
  node.append(...children);
  return node;
};
const percent = (part, whole) => `${(100 * part) / whole}%`;
const number = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

let map = null; // the value now drawn
let step = 0;
let chosen = 0; // the patch that has the roving focus
let cells = [];
let parts = {};

// ---- building ------------------------------------------------------------------------------------------------

function draw(value) {
  if (!value) return element.replaceChildren();
  map = JSON.parse(value);
  step = map.open_at;
  chosen = best();
  parts = {
    strip: make("div", { class: "pm-strip", role: "group", "aria-label": "Steps of the reduction" }),
    scrub: scrubber(),
    card: make("div", { class: "pm-card", "aria-live": "polite" }),
    sentence: make("p", { class: "pm-sentence" }),
    curve: make("div", { class: "pm-curve" }),
  };
  parts.strip.append(...map.steps.map(stepButton));
  const frame = canvas();
  const side = make("div", { class: "pm-side" }, parts.sentence, parts.card, legend(), parts.curve);
  const root = make("div", { class: "pm" }, palette(), parts.strip, parts.scrub);
  root.style.setProperty("--steps", map.steps.length);
  root.append(make("div", { class: "pm-body" }, frame, side), make("p", { class: "pm-alt", text: map.description }));
  element.replaceChildren(root);
  goTo(step);
  select(chosen, false);
}

function palette() {
  const rules = map.looks.map(
    (look) => `.pm [data-fate="${look.fate}"]{--c:${look.colour};--veil:${100 * look.veil}%;--glyph:"${look.glyph}"}`,
  );
  return make("style", { text: rules.join("\n") });
}

function stepButton(entry, index) {
  const button = make("button", { type: "button", class: "pm-step", "data-step": index });
  button.append(make("img", { src: entry.thumb, alt: "", draggable: "false" }));
  button.append(make("span", { class: "pm-step-name", text: entry.name }));
  button.append(make("span", { class: "pm-step-count", text: `${entry.tokens} tokens` }));
  button.addEventListener("click", () => goTo(index));
  return button;
}

function scrubber() {
  const last = map.steps.length - 1;
  const range = make("input", { id: "step", type: "range", min: 0, max: last, step: 1, value: step });
  range.setAttribute("aria-label", "Step");
  range.addEventListener("input", () => goTo(Number(range.value)));
  return make("div", { class: "pm-scrub" }, range);
}

function canvas() {
  const [left, top, right, bottom] = map.view;
  const [width, height] = [right - left, bottom - top];
  const frame = make("div", { class: "pm-frame" });
  frame.style.aspectRatio = `${width} / ${height}`;
  const place = (node, box) => {
    node.style.left = percent(box[0] - left, width);
    node.style.top = percent(box[1] - top, height);
    node.style.width = percent(box[2] - box[0], width);
    node.style.height = percent(box[3] - box[1], height);
    return node;
  };
  const photo = make("img", { class: "pm-photo", src: map.photo, alt: map.description, draggable: "false" });
  frame.append(place(photo, [0, 0, ...map.picture]));
  for (const box of unseen()) frame.append(place(make("div", { class: "pm-unseen", title: map.unseen }), box));
  const board = place(grid(), map.seen);
  parts.paint = make("canvas", { class: "pm-paint", "aria-hidden": "true" });
  new ResizeObserver(paint).observe(parts.paint);
  frame.append(place(parts.paint, map.seen), board);
  return frame;
}

function unseen() {
  const [left, top, right, bottom] = map.seen;
  const [width, height] = map.picture;
  const strips = [
    [0, 0, left, height],
    [right, 0, width, height],
    [Math.max(0, left), 0, Math.min(width, right), top],
    [Math.max(0, left), bottom, Math.min(width, right), height],
  ];
  return strips.filter((box) => box[2] - box[0] > 0.5 && box[3] - box[1] > 0.5);
}

function grid() {
  const board = make("div", { class: "pm-grid", role: "grid", "aria-label": "Patches of the picture" });
  board.style.setProperty("--rows", map.rows);
  cells = [];
  for (let row = 0; row < map.rows; row++) {
    const line = make("div", { role: "row", class: "pm-row" });
    for (let col = 0; col < map.cols; col++) {
      const cell = make("div", { role: "gridcell", class: "pm-cell", tabindex: -1, "data-patch": cells.length });
      cells.push(cell);
      line.append(cell);
    }
    board.append(line);
  }
  const patchOf = (event) => event.target.closest?.(".pm-cell")?.dataset.patch;
  board.addEventListener("click", (event) => patchOf(event) && select(Number(patchOf(event)), true));
  board.addEventListener("pointerover", (event) => patchOf(event) && tell(Number(patchOf(event))));
  board.addEventListener("pointerleave", () => tell(chosen));
  board.addEventListener("keydown", walk);
  return board;
}

function legend() {
  const list = make("ul", { class: "pm-legend", "aria-label": "Legend" });
  for (const look of map.looks) {
    const swatch = make("span", { class: "pm-swatch", "data-fate": look.fate, "aria-hidden": "true" });
    list.append(make("li", { "data-legend": look.fate }, swatch, make("span", { text: look.name })));
  }
  return list;
}

// The patch to begin with: the one with the highest score of stage 1.
function best() {
  const scores = map.stage1.map((score) => score ?? -1);
  return scores.indexOf(Math.max(...scores));
}

// ---- painting: one canvas, for 576 cells with a style of their own would make every update of the page slow -----

const GLYPH_SIZE = { dominant: 0.22, anchor: 0.62, merged: 0.5, "dropped-before": 0.36 };
const GLYPH_ALPHA = { "dropped-before": 0.45 };

function paint() {
  const board = parts.paint;
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(board.clientWidth * scale), Math.round(board.clientHeight * scale)];
  if (!width || !height) return;
  board.width = width;
  board.height = height;
  const pen = board.getContext("2d");
  const paper = getComputedStyle(parts.strip).getPropertyValue("--paper").trim();
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const fates = map.steps[step].labels.map((label) => map.looks[label]);
  fates.forEach((look, patch) => paintPatch(pen, look, patchBox(patch, width, height), paper));
  if (step > 0) for (const fate of ["dominant", "anchor"]) frameFate(pen, fates, fate, width, height, scale);
}

function patchBox(patch, width, height) {
  const [row, col] = [Math.floor(patch / map.cols), patch % map.cols];
  const x = (at) => Math.round((at * width) / map.cols);
  const y = (at) => Math.round((at * height) / map.rows);
  return [x(col), y(row), x(col + 1) - x(col), y(row + 1) - y(row)];
}

function paintPatch(pen, look, [x, y, width, height], paper) {
  const wash = (colour, alpha) => {
    pen.globalAlpha = alpha;
    pen.fillStyle = colour;
    pen.fillRect(x, y, width, height);
  };
  if (step > 0 && look.veil) wash(paper, look.veil);
  if (look.tint) wash(look.colour, look.tint);
  if (look.fate === "dominant") {
    pen.globalAlpha = 0.35;
    pen.strokeStyle = look.colour;
    pen.strokeRect(x + 0.5, y + 0.5, width, height);
  }
  pen.globalAlpha = GLYPH_ALPHA[look.fate] ?? 1;
  pen.font = `700 ${height * (GLYPH_SIZE[look.fate] ?? 0.5)}px sans-serif`;
  pen.fillStyle = look.colour;
  pen.fillText(look.glyph, x + width / 2, y + height * 0.53);
  pen.globalAlpha = 1;
}

// A line only where a fate ends, so that what is kept reads as windows onto the photo.
function frameFate(pen, fates, fate, width, height, scale) {
  const same = (row, col) => fates[row * map.cols + col]?.fate === fate && col >= 0 && col < map.cols;
  pen.lineWidth = 2 * scale;
  fates.forEach((look, patch) => {
    if (look.fate !== fate) return;
    const [row, col] = [Math.floor(patch / map.cols), patch % map.cols];
    const [x, y, w, h] = patchBox(patch, width, height);
    pen.strokeStyle = look.colour;
    pen.beginPath();
    if (!same(row - 1, col)) pen.moveTo(x, y), pen.lineTo(x + w, y);
    if (!same(row + 1, col)) pen.moveTo(x, y + h), pen.lineTo(x + w, y + h);
    if (!same(row, col - 1)) pen.moveTo(x, y), pen.lineTo(x, y + h);
    if (!same(row, col + 1)) pen.moveTo(x + w, y), pen.lineTo(x + w, y + h);
    pen.stroke();
  });
}

// ---- moving --------------------------------------------------------------------------------------------------

function goTo(index) {
  step = index;
  const { labels, sentence } = map.steps[step];
  const counts = {};
  cells.forEach((cell, patch) => {
    const look = map.looks[labels[patch]];
    counts[look.fate] = (counts[look.fate] ?? 0) + 1;
    cell.dataset.fate = look.fate;
    cell.setAttribute("aria-label", `${placeOf(patch)}: ${look.name}`);
  });
  element.querySelectorAll(".pm-step").forEach((button, at) => {
    button.setAttribute("aria-pressed", String(at === step));
  });
  element.querySelectorAll("[data-legend]").forEach((line) => {
    line.classList.toggle("pm-absent", !(line.dataset.legend in counts));
  });
  const range = parts.scrub.firstChild;
  range.value = step;
  range.setAttribute("aria-valuetext", `${map.steps[step].name}, ${map.steps[step].tokens} tokens`);
  parts.sentence.textContent = sentence;
  paint();
  parts.curve.replaceChildren(curve());
  tell(chosen);
}

function walk(event) {
  const [row, col] = [Math.floor(chosen / map.cols), chosen % map.cols];
  const moves = {
    ArrowLeft: [row, col - 1],
    ArrowRight: [row, col + 1],
    ArrowUp: [row - 1, col],
    ArrowDown: [row + 1, col],
    Home: [row, 0],
    End: [row, map.cols - 1],
  };
  if (!(event.key in moves)) return;
  event.preventDefault();
  const clamp = (value, limit) => Math.max(0, Math.min(limit - 1, value));
  const [toRow, toCol] = moves[event.key];
  select(clamp(toRow, map.rows) * map.cols + clamp(toCol, map.cols), true);
}

function select(patch, focus) {
  cells[chosen]?.setAttribute("tabindex", -1);
  cells[chosen]?.removeAttribute("aria-selected");
  chosen = patch;
  cells[patch].setAttribute("tabindex", 0);
  cells[patch].setAttribute("aria-selected", "true");
  if (focus) cells[patch].focus({ preventScroll: true });
  tell(patch);
}

// ---- the card of one patch -----------------------------------------------------------------------------------

const placeOf = (patch) => `row ${Math.floor(patch / map.cols) + 1}, column ${(patch % map.cols) + 1}`;

function tell(patch) {
  const look = map.looks[map.steps[step].labels[patch]];
  const title = make("div", { class: "pm-card-title" });
  const where = placeOf(patch);
  title.append(make("span", { class: "pm-swatch", "data-fate": look.fate, "aria-hidden": "true" }));
  title.append(make("strong", { text: where[0].toUpperCase() + where.slice(1) }));
  const lines = [look.name, ...story(patch)].map((text) => make("li", { text }));
  parts.card.replaceChildren(title, make("ul", {}, ...lines));
  const home = step > 0 ? map.joined[patch] : -1;
  const kin = cells.map((_, at) => home >= 0 && map.joined[at] === home);
  const company = kin.filter(Boolean).length > 1;
  cells.forEach((cell, at) => cell.classList.toggle("pm-kin", company && kin[at]));
}

function story(patch) {
  const lines = [];
  const score = map.stage1[patch];
  if (score !== null) {
    const rank = 1 + map.stage1.filter((other) => other !== null && other > score).length;
    lines.push(`stage-1 score ${number(score)}, rank ${rank} of ${map.stage1.length}`);
  }
  const home = map.joined[patch];
  if (step > 0 && home >= 0 && home !== patch) lines.push(`joined the anchor at ${placeOf(home)}`);
  for (const drop of map.late.slice(0, Math.max(0, step - 1))) {
    if (drop.scores[patch] !== null) lines.push(`stage-2 score ${number(drop.scores[patch])} before layer ${drop.layer}`);
  }
  return lines;
}

// ---- tokens per layer ----------------------------------------------------------------------------------------

function curve() {
  const [width, height, base, topEdge] = [320, 108, 84, 10];
  const counts = map.layers;
  const x = (layer) => 34 + (layer * (width - 40)) / counts.length;
  const y = (tokens) => base - (tokens / map.full) * (base - topEdge);
  let line = `M${x(0)} ${y(counts[0])}`;
  counts.forEach((tokens, layer) => (line += ` V${y(tokens)} H${x(layer + 1)}`));
  const saved = `M${x(0)} ${topEdge} H${x(counts.length)} V${y(counts.at(-1))} ${backwards(counts, x, y)} Z`;
  const used = `${line} V${base} H${x(0)} Z`;
  const at = map.steps[step].layer;
  const labels = [
    [4, topEdge + 4, map.full, "start"],
    [4, base + 3, "0", "start"],
    [x(0), height - 8, "layer 0", "start"],
    [x(counts.length), height - 8, `layer ${counts.length - 1}`, "end"],
  ];
  const texts = labels.map(([tx, ty, text, anchor]) => `<text x="${tx}" y="${ty}" text-anchor="${anchor}">${text}</text>`);
  const marker = at === null ? "" : `<line class="pm-now" x1="${x(at)}" x2="${x(at)}" y1="${topEdge - 6}" y2="${base + 4}"/>`;
  const holder = make("figure");
  holder.innerHTML =
    `<figcaption>Visual tokens per layer <span>${map.saved}</span></figcaption>` +
    `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${map.curve_text}">` +
    `<path class="pm-saved" d="${saved}"/><path class="pm-used" d="${used}"/><path class="pm-line" d="${line}"/>` +
    `${marker}${texts.join("")}</svg>`;
  return holder;
}

function backwards(counts, x, y) {
  let path = "";
  for (let layer = counts.length - 1; layer >= 0; layer--) path += ` V${y(counts[layer])} H${x(layer)}`;
  return path;
}

watch("value", () => draw(props.value));
draw(props.value);
