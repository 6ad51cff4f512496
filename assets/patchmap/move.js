// ---- moving --------------------------------------------------------------------------------------------------

// `focus`: returns what gets the focus when all is drawn; `quick`: the slider is moving, small pictures wait.
function goTo(index, focus = null, quick = false) {
  step = index;
  const fates = looksAt(frame, step);
  cells.forEach((cell, at) => nameCell(at, fates[at]));
  const present = new Set(fates.map((look) => look.fate));
  parts.fates.querySelectorAll("[data-legend]").forEach((line) => {
    line.classList.toggle("pm-absent", !present.has(line.dataset.legend));
  });
  if (parts.photo.src !== map.frames[frame].photo) parts.photo.src = map.frames[frame].photo;
  tellSteps();
  tellMode();
  tellTools();
  tellNote();
  if (parts.film) tellFilm();
  paint();
  if (!quick) {
    thumbs();
    parts.curve.replaceChildren(curve());
  }
  tell(chosen);
  focus?.()?.focus();
}

// What a cell is called and how it looks to the style sheet; only what changed is written.
function nameCell(at, look = lookOf(patchOf(at))) {
  const [cell, forced] = [cells[at], painted.get(patchOf(at))];
  const value = mode === "fate" ? null : valuesShown()[patchOf(at)];
  const said = [look.name, value === null ? "" : `${heatTitle()} ${number(value)}`, forced ? FORCED[forced] : ""];
  setIfNew(cell, "data-fate", look.fate);
  setIfNew(cell, "aria-label", `${placeOf(at)}: ${said.filter(Boolean).join(", ")}`);
  if (forced) setIfNew(cell, "data-brush", forced);
  else cell.removeAttribute("data-brush");
}

function tellSteps() {
  parts.strip.classList.toggle("pm-trying", live !== null);
  for (const [at, made] of [...parts.strip.children].entries()) {
    setIfNew(made, "aria-pressed", String(at === step));
    const count = made.querySelector(".pm-step-count");
    const text = `${tokensAt(at)} tokens`;
    if (count.textContent !== text) count.textContent = text;
  }
  const range = parts.scrub.firstChild;
  range.value = step;
  setIfNew(range, "aria-valuetext", `${map.steps[step].name}, ${tokensAt(step)} tokens`);
  parts.sentence.textContent = sentenceAt(step);
}

// One line under the picture: what is being tried out, and what is painted.
function tellNote() {
  const [keep, drop] = ["keep", "drop"].map((how) => paintedAs(how).length);
  const notes = [live ? map.live.note : (parts.still ?? "")];
  if (keep || drop) notes.push(fill(map.tools.painted, { keep, drop }));
  const text = notes.filter(Boolean).join(" ");
  if (parts.note.textContent !== text) parts.note.textContent = text;
}

const KEYS = {
  ArrowLeft: ([row, col]) => [row, col - 1],
  ArrowRight: ([row, col]) => [row, col + 1],
  ArrowUp: ([row, col]) => [row - 1, col],
  ArrowDown: ([row, col]) => [row + 1, col],
  Home: ([row]) => [row, 0],
  End: ([row]) => [row, map.cols - 1],
};
const ACTS = { k: () => forceByKey("keep"), d: () => forceByKey("drop"), Escape: () => setTool("look") };

function walk(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const act = ACTS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const move = KEYS[event.key];
  if (!act && !move) return;
  event.preventDefault();
  if (act) return act();
  const [row, col] = move([Math.floor(chosen / map.cols), chosen % map.cols]);
  select(clamp(row, map.rows) * map.cols + clamp(col, map.cols), true);
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
