// ---- the brush: patches that must stay or must go the next time ---------------------------------------------------

const TOOLS = { look: ["Look", ""], keep: ["Keep", "✚"], drop: ["Drop", "⊘"] };
const FORCED = { keep: "must stay at the next Ask", drop: "must go at the next Ask" };
let stroke = null; // the brush is down: what it does, and the cell it came from

function tools() {
  const group = make("div", { class: "pm-tools", role: "group", "aria-label": "Brush" });
  for (const [name, [text, glyph]] of Object.entries(TOOLS)) {
    const made = button("", { class: "pm-tool", "data-tool": name, title: map.tools[name] }, () => setTool(name));
    if (glyph) made.append(make("span", { class: "pm-tool-glyph", "aria-hidden": "true", text: glyph }), " ");
    made.append(text);
    group.append(made);
  }
  parts.clear = button("Clear", { class: "pm-clear", title: map.tools.clear }, clearPaint);
  group.append(parts.clear);
  parts.tools = group;
  return group;
}

function setTool(name) {
  tool = name;
  tellTools();
}

function tellTools() {
  for (const made of parts.tools.querySelectorAll(".pm-tool")) setIfNew(made, "aria-pressed", String(made.dataset.tool === tool));
  parts.clear.disabled = painted.size === 0;
  parts.grid.classList.toggle("pm-painting", tool !== "look");
}

function listenToBrush(board) {
  board.addEventListener("pointerdown", (event) => {
    const cell = cellUnder(event);
    if (tool === "look" || event.button || cell === null) return;
    board.setPointerCapture(event.pointerId);
    stroke = { how: painted.get(patchOf(cell)) === tool ? null : tool, last: cell };
    select(cell, true);
    brushTo(cell);
  });
  board.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    const seen = event.getCoalescedEvents?.() ?? [];
    for (const each of seen.length ? seen : [event]) brushTo(cellUnder(each));
  });
  for (const end of ["pointerup", "pointercancel"]) board.addEventListener(end, endStroke);
}

function cellUnder(event) {
  const { left, top, width, height } = parts.grid.getBoundingClientRect();
  const [col, row] = [Math.floor(((event.clientX - left) / width) * map.cols), Math.floor(((event.clientY - top) / height) * map.rows)];
  return col < 0 || row < 0 || col >= map.cols || row >= map.rows ? null : row * map.cols + col;
}

// Every cell between the last place and this one, so that a quick hand leaves no gaps.
function brushTo(cell) {
  if (cell === null) return;
  const [row, col] = [Math.floor(stroke.last / map.cols), stroke.last % map.cols];
  const [down, right] = [Math.floor(cell / map.cols) - row, (cell % map.cols) - col];
  const far = Math.max(1, Math.abs(down), Math.abs(right));
  for (let at = 0; at <= far; at++) {
    force((row + Math.round((down * at) / far)) * map.cols + col + Math.round((right * at) / far), stroke.how);
  }
  stroke.last = cell;
}

function endStroke() {
  if (!stroke) return;
  stroke = null;
  sendPaint();
  tell(chosen);
}

function force(cell, how) {
  const patch = patchOf(cell);
  if (map.looks[map.steps[0].labels[patch]].fate === "border") return;
  if (how) painted.set(patch, how);
  else painted.delete(patch);
  nameCell(cell);
}

// From the keyboard: the same key a second time takes it back.
function forceByKey(how) {
  force(chosen, painted.get(patchOf(chosen)) === how ? null : how);
  sendPaint();
  tell(chosen);
}

const paintedAs = (how) => [...painted].filter(([, own]) => own === how).map(([patch]) => patch).sort((a, b) => a - b);

function sendPaint() {
  const text = painted.size ? JSON.stringify({ key: map.key, keep: paintedAs("keep"), drop: paintedAs("drop") }) : "";
  window.dispatchEvent(new CustomEvent("duet-brush", { detail: text }));
  if (!parts.tools) return;
  if (live) tryOut(slider);
  tellTools();
  tellNote();
}

function clearPaint() {
  painted = new Map();
  sendPaint();
  cells.forEach((_, at) => nameCell(at));
  tell(chosen);
}

function forgetPaint() {
  tool = "look";
  if (!painted.size) return;
  painted = new Map();
  window.dispatchEvent(new CustomEvent("duet-brush", { detail: "" }));
}

window.addEventListener("duet-other-subject", () => map && painted.size && clearPaint());
