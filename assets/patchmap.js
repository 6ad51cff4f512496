// The patch map: draws a trace in the browser. Gradio runs this once per component with `element`, `props` and
// `watch`; the value is the JSON text that app/patchmap.py makes. Fates, colours and sentences come from there.
// A picture is a clip of one frame: patches are numbered through all frames, cells show one frame at a time. So are the
// crops of one picture, each with a box of its own on the same photo. Frames of a clip that share their patches have
// the same home: the same cells are drawn on each of them.

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
const clamp = (value, limit) => Math.max(0, Math.min(limit - 1, value));

let map = null; // the value now drawn
let step = 0;
let frame = 0;
let chosen = 0; // the cell that has the roving focus
let cells = [];
let parts = {};

const patchesEach = () => map.rows * map.cols;
const patchOf = (cell) => map.frames[frame].home * patchesEach() + cell;
const homes = () => map.frames.filter((own, at) => map.frames.findIndex((other) => other.home === own.home) === at);

// ---- building ------------------------------------------------------------------------------------------------

function draw(value) {
  if (!value) return element.replaceChildren();
  map = JSON.parse(value);
  map.frames.forEach((own, at) => {
    own.photo ||= map.frames[0].photo;
    own.image = Object.assign(new Image(), { src: own.photo, onload: () => thumbsOf(at) });
  });
  step = map.open_at;
  frame = busiest();
  chosen = best();
  parts = {
    strip: make("div", { class: "pm-strip", role: "group", "aria-label": "Steps of the reduction" }),
    scrub: scrubber(),
    card: make("div", { class: "pm-card", "aria-live": "polite" }),
    sentence: make("p", { class: "pm-sentence" }),
    curve: make("div", { class: "pm-curve" }),
    heat: make("div", { class: "pm-heat" }),
  };
  parts.strip.append(...map.steps.map(stepButton));
  const board = canvas();
  const side = make("div", { class: "pm-side" }, parts.sentence, parts.card, legend(), parts.curve, parts.heat);
  const root = make("div", { class: "pm" }, palette(), parts.strip, parts.scrub);
  root.style.setProperty("--steps", map.steps.length);
  if (isClip()) root.append(film());
  root.append(make("div", { class: "pm-body" }, board, side), make("p", { class: "pm-alt", text: map.description }));
  element.replaceChildren(root);
  if (isClip()) parts.heat.append(heat());
  new ResizeObserver(thumbs).observe(parts.strip);
  goTo(step);
  select(chosen, false);
}

const isClip = () => map.frames.length > 1;

function palette() {
  const rules = map.looks.map(
    (look) => `.pm [data-fate="${look.fate}"]{--c:${look.colour};--veil:${100 * look.veil}%;--glyph:"${look.glyph}"}`,
  );
  return make("style", { text: rules.join("\n") });
}

function stepButton(entry, index) {
  const button = make("button", { type: "button", class: "pm-step", "data-step": index });
  button.append(make("canvas", { class: "pm-thumb", "aria-hidden": "true" }));
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
  const board = make("div", { class: "pm-frame" });
  board.style.aspectRatio = `${right - left} / ${bottom - top}`;
  parts.photo = make("img", { class: "pm-photo", alt: map.description, draggable: "false" });
  parts.unseen = make("div", { class: "pm-shades" });
  parts.paint = make("canvas", { class: "pm-paint", "aria-hidden": "true" });
  parts.grid = grid();
  new ResizeObserver(paint).observe(parts.paint);
  board.append(place(parts.photo, [0, 0, ...map.picture]), parts.unseen, parts.paint, parts.grid);
  settle();
  return board;
}

function place(node, box) {
  const [left, top, right, bottom] = map.view;
  node.style.left = percent(box[0] - left, right - left);
  node.style.top = percent(box[1] - top, bottom - top);
  node.style.width = percent(box[2] - box[0], right - left);
  node.style.height = percent(box[3] - box[1], bottom - top);
  return node;
}

// Lays cells, paint and shades where the frame that is open lies on the photo.
function settle() {
  const { seen } = map.frames[frame];
  for (const node of [parts.paint, parts.grid]) place(node, seen);
  const shade = (box) => place(make("div", { class: "pm-unseen", title: map.unseen }), box);
  parts.unseen.replaceChildren(...unseen(seen).map(shade));
}

function unseen([left, top, right, bottom]) {
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
  const cellOf = (event) => event.target.closest?.(".pm-cell")?.dataset.patch;
  board.addEventListener("click", (event) => cellOf(event) && select(Number(cellOf(event)), true));
  board.addEventListener("pointerover", (event) => cellOf(event) && tell(Number(cellOf(event))));
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

// The cell to begin with: the one with the highest score of stage 1.
function best() {
  const scores = map.stage1.slice(patchOf(0), patchOf(patchesEach())).map((score) => score ?? -1);
  return scores.indexOf(Math.max(...scores));
}

// The frame to begin with: the one of which most is left longest.
function busiest() {
  const left = map.frames.map((own) => own.tokens.reduce((sum, tokens) => sum + tokens, 0));
  return left.indexOf(Math.max(...left));
}

// ---- the film: every frame with its overlay and what is left of it ------------------------------------------------

function film() {
  parts.film = make("div", { class: "pm-film", role: "group", "aria-label": `The ${map.part}s` });
  parts.film.append(...map.frames.map(frameButton));
  parts.film.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    show(clamp(frame + by, map.frames.length));
    parts.film.children[frame].focus();
  });
  return parts.film;
}

function frameButton(own, index) {
  const button = make("button", { type: "button", class: "pm-film-frame", "data-frame": index });
  button.append(make("canvas", { class: "pm-thumb", "aria-hidden": "true" }));
  button.append(make("span", { class: "pm-bar" }, make("span", { class: "pm-bar-left" })));
  button.append(make("span", { class: "pm-film-name" }));
  button.addEventListener("click", () => show(index));
  return button;
}

function show(index) {
  frame = index;
  settle();
  goTo(step);
}

const atStep = (own) => (step === 0 ? own.patches : own.tokens[map.steps[step].layer]);
const seconds = (time) => `${time.toFixed(1)} s`;
const capital = (text) => text[0].toUpperCase() + text.slice(1);

function tellFilm() {
  map.frames.forEach((own, index) => {
    const button = parts.film.children[index];
    const left = atStep(own);
    button.setAttribute("aria-pressed", String(index === frame));
    const when = own.time === null ? "" : ` at ${seconds(own.time)}`;
    button.setAttribute("aria-label", `${capital(own.name)}${when}: ${left} of ${own.patches} tokens`);
    button.querySelector(".pm-bar-left").style.width = percent(left, own.patches || 1);
    const name = own.time === null ? own.name : seconds(own.time);
    const shared = index > 0 && map.frames[index - 1].home === own.home; // its tokens are counted already
    button.querySelector(".pm-film-name").replaceChildren(name, make("b", { text: shared ? "same" : String(left) }));
  });
}

// Frames by layers: how much is left of each.
function heat() {
  const layers = map.layers.length;
  const [width, left, top, row] = [320, 34, 4, Math.max(7, Math.min(14, 112 / layers))];
  const columns = homes();
  const step = (width - left) / columns.length;
  const rects = columns.flatMap((own, at) =>
    own.tokens.map((tokens, layer) => {
      const share = tokens / (own.patches || 1);
      const box = `x="${left + at * step}" y="${top + layer * row}" width="${step - 1}" height="${row - 1}"`;
      const said = `${own.name}, layer ${layer}: ${tokens} tokens`;
      return `<rect ${box} data-frame="${map.frames.indexOf(own)}" style="--share:${(100 * Math.sqrt(share)).toFixed(0)}%"><title>${said}</title></rect>`;
    }),
  );
  const bottom = top + layers * row;
  const holder = make("figure");
  holder.innerHTML =
    `<figcaption>What is left of every ${map.part}, layer by layer</figcaption>` +
    `<svg viewBox="0 0 ${width} ${bottom + 16}" role="img" aria-label="${map.heat_text}">${rects.join("")}` +
    `<text x="4" y="${top + row * 0.8}">layer 0</text><text x="4" y="${bottom - row * 0.2}">${layers - 1}</text>` +
    `<text x="${left}" y="${bottom + 12}">${map.frames[0].name}</text>` +
    `<text x="${width}" y="${bottom + 12}" text-anchor="end">${map.frames.at(-1).name.split(" ").at(-1)}</text></svg>`;
  holder.addEventListener("click", (event) => {
    const at = event.target.closest("rect")?.dataset.frame;
    if (at !== undefined) show(Number(at));
  });
  return holder;
}

// ---- painting: one canvas, for 576 cells with a style of their own would make every update of the page slow -----

const GLYPH_SIZE = { dominant: 0.22, anchor: 0.62, merged: 0.5, "dropped-before": 0.36 };
const GLYPH_ALPHA = { "dropped-before": 0.45 };
const looksAt = (own, at) =>
  map.steps[at].labels.slice(map.frames[own].home * patchesEach()).slice(0, patchesEach()).map((label) => map.looks[label]);
const paperColour = () => getComputedStyle(parts.strip).getPropertyValue("--paper").trim();

function paint() {
  const board = parts.paint;
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(board.clientWidth * scale), Math.round(board.clientHeight * scale)];
  if (!width || !height) return;
  Object.assign(board, { width, height });
  const pen = board.getContext("2d");
  paintPatches(pen, looksAt(frame, step), step, [0, 0, width, height], scale, true);
}

// Small pictures of a whole frame: one per step for the frame that is open, one per frame for the step that is open.
function thumbs() {
  map.steps.forEach((_, at) => thumb(parts.strip.children[at].firstChild, frame, at));
  if (parts.film) map.frames.forEach((_, at) => thumb(parts.film.children[at].firstChild, at, step));
}

function thumbsOf(own) {
  if (own === frame) thumbs();
  else thumb(parts.film.children[own].firstChild, own, step);
}

function thumb(board, own, at) {
  const image = map.frames[own].image;
  const [left, top, right, bottom] = map.view;
  const scale = Math.min(2, window.devicePixelRatio || 1);
  const width = Math.round(board.clientWidth * scale);
  if (!width || !image.complete) return;
  const zoom = width / (right - left);
  const box = ([x0, y0, x1, y1]) => [(x0 - left) * zoom, (y0 - top) * zoom, (x1 - x0) * zoom, (y1 - y0) * zoom];
  Object.assign(board, { width, height: Math.max(1, Math.round((bottom - top) * zoom)) });
  const pen = board.getContext("2d");
  pen.fillStyle = paperColour();
  pen.fillRect(0, 0, board.width, board.height);
  pen.drawImage(image, ...box([0, 0, ...map.picture]));
  pen.globalAlpha = 0.55;
  for (const strip of unseen(map.frames[own].seen)) pen.fillRect(...box(strip));
  pen.globalAlpha = 1;
  if (at > 0) paintPatches(pen, looksAt(own, at), at, box(map.frames[own].seen), scale, false);
}

function paintPatches(pen, fates, at, [left, top, width, height], scale, glyphs) {
  const paper = paperColour();
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const x = (col) => Math.round(left + (col * width) / map.cols);
  const y = (row) => Math.round(top + (row * height) / map.rows);
  const boxOf = (cell) => {
    const [row, col] = [Math.floor(cell / map.cols), cell % map.cols];
    return [x(col), y(row), x(col + 1) - x(col), y(row + 1) - y(row)];
  };
  fates.forEach((look, cell) => paintPatch(pen, look, boxOf(cell), at > 0 && paper, glyphs));
  if (at > 0) for (const fate of ["dominant", "anchor"]) frameFate(pen, fates, fate, boxOf, glyphs ? 2 * scale : scale);
}

function paintPatch(pen, look, [x, y, width, height], paper, glyphs) {
  const wash = (colour, alpha) => {
    pen.globalAlpha = alpha;
    pen.fillStyle = colour;
    pen.fillRect(x, y, width, height);
  };
  if (paper && look.veil) wash(paper, look.veil);
  if (look.tint) wash(look.colour, look.tint);
  if (glyphs) paintGlyph(pen, look, [x, y, width, height]);
  pen.globalAlpha = 1;
}

function paintGlyph(pen, look, [x, y, width, height]) {
  if (look.fate === "dominant") {
    pen.globalAlpha = 0.35;
    pen.strokeStyle = look.colour;
    pen.lineWidth = 1;
    pen.strokeRect(x + 0.5, y + 0.5, width, height);
  }
  pen.globalAlpha = GLYPH_ALPHA[look.fate] ?? 1;
  pen.font = `700 ${height * (GLYPH_SIZE[look.fate] ?? 0.5)}px sans-serif`;
  pen.fillStyle = look.colour;
  pen.fillText(look.glyph, x + width / 2, y + height * 0.53);
}

// A line only where a fate ends, so that what is kept reads as windows onto the photo.
function frameFate(pen, fates, fate, boxOf, thick) {
  const same = (row, col) => fates[row * map.cols + col]?.fate === fate && col >= 0 && col < map.cols;
  pen.lineWidth = thick;
  fates.forEach((look, cell) => {
    if (look.fate !== fate) return;
    const [row, col] = [Math.floor(cell / map.cols), cell % map.cols];
    const [x, y, w, h] = boxOf(cell);
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
  const counts = {};
  const fates = looksAt(frame, step);
  cells.forEach((cell, at) => {
    const look = fates[at];
    counts[look.fate] = (counts[look.fate] ?? 0) + 1;
    cell.dataset.fate = look.fate;
    cell.setAttribute("aria-label", `${placeOf(at)}: ${look.name}`);
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
  parts.sentence.textContent = map.steps[step].sentence;
  if (parts.photo.src !== map.frames[frame].photo) parts.photo.src = map.frames[frame].photo;
  if (parts.film) tellFilm();
  paint();
  thumbs();
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
  const [toRow, toCol] = moves[event.key];
  select(clamp(toRow, map.rows) * map.cols + clamp(toCol, map.cols), true);
}

function select(cell, focus) {
  cells[chosen]?.setAttribute("tabindex", -1);
  cells[chosen]?.removeAttribute("aria-selected");
  chosen = cell;
  cells[cell].setAttribute("tabindex", 0);
  cells[cell].setAttribute("aria-selected", "true");
  if (focus) cells[cell].focus({ preventScroll: true });
  tell(cell);
}

// ---- the card of one patch -----------------------------------------------------------------------------------

const homeOf = (patch) => {
  const home = Math.floor(patch / patchesEach());
  const owner = map.frames.find((own) => own.home === home);
  return `${home === map.frames[frame].home ? "" : `${owner.name}, `}${placeOf(patch % patchesEach())}`;
};
const placeOf = (cell) => `row ${Math.floor(cell / map.cols) + 1}, column ${(cell % map.cols) + 1}`;

function tell(cell) {
  const look = map.looks[map.steps[step].labels[patchOf(cell)]];
  const title = make("div", { class: "pm-card-title" });
  const where = isClip() ? `${map.frames[frame].name}, ${placeOf(cell)}` : placeOf(cell);
  title.append(make("span", { class: "pm-swatch", "data-fate": look.fate, "aria-hidden": "true" }));
  title.append(make("strong", { text: capital(where) }));
  const lines = [look.name, ...story(patchOf(cell))].map((text) => make("li", { text }));
  parts.card.replaceChildren(title, make("ul", {}, ...lines));
  const home = step > 0 ? map.joined[patchOf(cell)] : -1;
  const kin = cells.map((_, at) => home >= 0 && map.joined[patchOf(at)] === home);
  const company = kin.filter(Boolean).length > 1;
  cells.forEach((other, at) => other.classList.toggle("pm-kin", company && kin[at]));
}

function story(patch) {
  const lines = [];
  const score = map.stage1[patch];
  if (score !== null) {
    const own = map.stage1.slice(patchOf(0), patchOf(patchesEach())).filter((other) => other !== null);
    const rank = 1 + own.filter((other) => other > score).length;
    lines.push(`stage-1 score ${number(score)}, rank ${rank} of ${own.length}`);
  }
  const home = map.joined[patch];
  if (step > 0 && home >= 0 && home !== patch) lines.push(`joined the anchor at ${homeOf(home)}`);
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
