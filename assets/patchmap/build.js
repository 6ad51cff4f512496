// ---- building ------------------------------------------------------------------------------------------------

function draw(value) {
  if (!value) return element.replaceChildren();
  const before = map;
  map = JSON.parse(value);
  live = null;
  const same = before?.key === map.key && before.rows === map.rows && before.frames.length === map.frames.length;
  openPhotos(same ? before.frames : []);
  if (!same) forgetPaint();
  step = map.open_at;
  frame = same ? frame : busiest();
  chosen = same ? chosen : best();
  if (!modeHolds(mode)) mode = "fate";
  word = 0;
  layOut(same && element.firstChild);
  goTo(step);
  select(chosen, false);
}

function openPhotos(before) {
  map.frames.forEach((own, at) => {
    own.photo ||= map.frames[0].photo;
    const known = before[at]?.photo === own.photo && before[at].image;
    own.image = known || Object.assign(new Image(), { src: own.photo, onload: () => thumbsOf(at) });
  });
}

// Another run on the same picture keeps the board with its cells, and the focus there: the rest is little.
function layOut(keepsBoard) {
  const before = parts;
  parts = {
    palette: palette(),
    strip: make("div", { class: "pm-strip", role: "group", "aria-label": "Steps of the reduction" }),
    scrub: scrubber(),
    card: make("div", { class: "pm-card", "aria-live": "polite" }),
    sentence: make("p", { class: "pm-sentence" }),
    curve: make("div", { class: "pm-curve" }),
    heat: make("div", { class: "pm-heat" }),
    note: make("p", { class: "pm-note", role: "status" }),
    alt: make("p", { class: "pm-alt", text: map.description }),
  };
  parts.strip.append(...map.steps.map(stepButton));
  if (isClip()) film();
  if (isClip()) parts.heat.append(heat());
  if (keepsBoard) for (const name of BOARD) parts[name] = before[name];
  else canvas();
  parts.bar = bar();
  wordsLine();
  parts.side = make("div", { class: "pm-side" }, parts.sentence, parts.card, legends(), parts.curve, parts.heat);
  if (keepsBoard) for (const name of AROUND) before[name]?.replaceWith(parts[name]);
  else element.replaceChildren(root());
  frameBoard();
  element.firstChild.style.setProperty("--steps", map.steps.length);
  new ResizeObserver(() => parts.strip.firstChild.firstChild.width === thumbWidth() || thumbs()).observe(parts.strip);
}

const BOARD = ["board", "photo", "unseen", "paint", "grid", "lines"];
const AROUND = ["palette", "strip", "scrub", "film", "bar", "words", "note", "side", "alt"];

function root() {
  const shown = make("div", { class: "pm-shown" }, parts.bar, parts.words, parts.board, parts.note);
  const top = [parts.palette, parts.strip, parts.scrub, ...(isClip() ? [parts.film] : [])];
  return make("div", { class: "pm" }, ...top, make("div", { class: "pm-body" }, shown, parts.side), parts.alt);
}

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
  button.append(make("span", { class: "pm-step-count" }));
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

// What stands above the picture: what it shows, and what a click on it does.
function bar() {
  return make("div", { class: "pm-bar-top" }, modes(), tools());
}

function button(text, attributes, act) {
  const made = make("button", { type: "button", text, ...attributes });
  made.addEventListener("click", act);
  return made;
}

function canvas() {
  parts.board = make("div", { class: "pm-frame" });
  parts.photo = make("img", { class: "pm-photo", draggable: "false" });
  parts.unseen = make("div", { class: "pm-shades" });
  parts.paint = make("canvas", { class: "pm-paint", "aria-hidden": "true" });
  parts.grid = grid();
  parts.lines = makeSvg("svg", { class: "pm-lines", "aria-hidden": "true", preserveAspectRatio: "none" });
  parts.board.append(...BOARD.slice(1).map((name) => parts[name]));
  new ResizeObserver(() => isPainted() || paint()).observe(parts.paint);
}

// Lays the photo where it belongs, and says what it shows.
function frameBoard() {
  const [left, top, right, bottom] = map.view;
  parts.board.style.aspectRatio = `${right - left} / ${bottom - top}`;
  parts.photo.alt = map.description;
  parts.lines.setAttribute("viewBox", `0 0 ${map.cols} ${map.rows}`);
  place(parts.photo, [0, 0, ...map.picture]);
  settle();
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
  for (const node of [parts.paint, parts.grid, parts.lines]) place(node, seen);
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
  const board = make("div", { class: "pm-grid", role: "grid", "aria-label": "Patches of the picture", "aria-keyshortcuts": "K D Escape" });
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
  listenToBrush(board);
  return board;
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
