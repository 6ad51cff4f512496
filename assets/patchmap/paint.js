// ---- painting: one canvas, for 576 cells with a style of their own would make every update of the page slow -----

const GLYPH_SIZE = { dominant: 0.22, anchor: 0.62, merged: 0.5, "dropped-before": 0.36 };
const GLYPH_ALPHA = { "dropped-before": 0.45 };
const looksAt = (own, at) => {
  const first = map.frames[own].home * patchesEach();
  return labelsAt(at).slice(first, first + patchesEach()).map((label) => map.looks[label]);
};
const paperColour = () => getComputedStyle(parts.strip).getPropertyValue("--paper").trim();

const dots = () => window.devicePixelRatio || 1;
const paintSize = () => [parts.paint.clientWidth, parts.paint.clientHeight].map((side) => Math.round(side * dots()));
const isPainted = () => [parts.paint.width, parts.paint.height].join() === paintSize().join();

function paint() {
  const [board, scale, [width, height]] = [parts.paint, dots(), paintSize()];
  if (!width || !height) return void (board.width = 0); // hidden: painted when it is seen again
  if (board.width !== width || board.height !== height) Object.assign(board, { width, height });
  const pen = board.getContext("2d");
  pen.clearRect(0, 0, width, height);
  if (mode === "fate") paintPatches(pen, looksAt(frame, step), step, [0, 0, width, height], scale, true);
  else paintHeat(pen, boxesIn([0, 0, width, height]));
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

const thumbDots = () => Math.min(2, dots());
const thumbWidth = () => Math.round(parts.strip.firstChild.firstChild.clientWidth * thumbDots());

function thumb(board, own, at) {
  const image = map.frames[own].image;
  const [left, top, right, bottom] = map.view;
  const scale = thumbDots();
  const width = Math.round(board.clientWidth * scale);
  if (!width) board.width = 0;
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

function boxesIn([left, top, width, height]) {
  const x = (col) => Math.round(left + (col * width) / map.cols);
  const y = (row) => Math.round(top + (row * height) / map.rows);
  return (cell) => {
    const [row, col] = [Math.floor(cell / map.cols), cell % map.cols];
    return [x(col), y(row), x(col + 1) - x(col), y(row + 1) - y(row)];
  };
}

function paintPatches(pen, fates, at, box, scale, glyphs) {
  const [paper, boxOf] = [paperColour(), boxesIn(box)];
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (const look of new Set(fates)) { // one look after the other: a change of font costs more than a glyph
    fates.forEach((own, cell) => own === look && paintPatch(pen, look, boxOf(cell), at > 0 && paper, glyphs));
  }
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
