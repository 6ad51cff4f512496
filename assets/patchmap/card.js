// ---- the card of one patch, and whom it joined --------------------------------------------------------------------

const homeOf = (patch) => {
  const home = Math.floor(patch / patchesEach());
  const owner = map.frames.find((own) => own.home === home);
  return `${home === map.frames[frame].home ? "" : `${owner.name}, `}${placeOf(patch % patchesEach())}`;
};

function tell(cell) {
  const patch = patchOf(cell);
  const look = lookOf(patch);
  const title = make("div", { class: "pm-card-title" });
  const where = isClip() ? `${map.frames[frame].name}, ${placeOf(cell)}` : placeOf(cell);
  title.append(make("span", { class: "pm-swatch", "data-fate": look.fate, "aria-hidden": "true" }));
  title.append(make("strong", { text: capital(where) }));
  const lines = [look.name, ...story(patch)].map((text) => make("li", { text }));
  parts.card.replaceChildren(title, make("ul", {}, ...lines));
  drawKin(cell);
}

function story(patch) {
  const lines = painted.has(patch) ? [FORCED[painted.get(patch)]] : [];
  const score = map.stage1[patch];
  if (score !== null) {
    const own = map.stage1.slice(patchOf(0), patchOf(patchesEach())).filter((other) => other !== null);
    const rank = 1 + own.filter((other) => other > score).length;
    lines.push(`stage-1 score ${number(score)}, rank ${rank} of ${own.length}`);
  }
  if (live && step === 1) return lookOf(patch).fate === "merged" ? [...lines, map.live.joins] : lines;
  const home = map.joined[patch];
  if (step > 0 && home >= 0 && home !== patch) lines.push(`joined the anchor at ${homeOf(home)}`);
  for (const drop of map.late.slice(0, Math.max(0, step - 1))) {
    if (drop.scores[patch] !== null) lines.push(`stage-2 score ${number(drop.scores[patch])} before layer ${drop.layer}`);
  }
  if (mode === "word" && valuesShown()[patch] !== null) lines.push(`${heatTitle()}: ${number(valuesShown()[patch])}`);
  return lines;
}

// A line from a merged patch to its anchor (from an anchor to all of its own), and an outline around the group.
function drawKin(cell) {
  const [patch, first] = [patchOf(cell), patchOf(0)];
  const home = step > 0 && !(live && step === 1) ? map.joined[patch] : -1;
  const group = home < 0 ? [] : cells.map((_, at) => at).filter((at) => map.joined[first + at] === home);
  const company = group.length > 1 || (group.length === 1 && home !== patch);
  if (!company) return parts.lines.replaceChildren();
  const anchor = home - first;
  const here = anchor >= 0 && anchor < cells.length;
  const ends = !here ? [] : cell === anchor ? group.filter((at) => at !== anchor) : [cell];
  const path = [outline(new Set(group)), ...ends.map((at) => `M${middle(at)} L${middle(anchor)}`)];
  const strokes = ["pm-casing", "pm-kin"].map((name) => makeSvg("path", { class: name, d: path.join(" ") }));
  strokes[1].setAttribute("data-group", group.length);
  if (here) strokes[1].setAttribute("data-anchor", anchor);
  parts.lines.replaceChildren(...strokes);
}

const middle = (cell) => `${(cell % map.cols) + 0.5} ${Math.floor(cell / map.cols) + 0.5}`;

function outline(group) {
  const has = (row, col) => col >= 0 && col < map.cols && group.has(row * map.cols + col);
  return [...group].map((cell) => {
    const [row, col] = [Math.floor(cell / map.cols), cell % map.cols];
    const top = has(row - 1, col) ? "" : `M${col} ${row}h1`;
    const bottom = has(row + 1, col) ? "" : `M${col} ${row + 1}h1`;
    const left = has(row, col - 1) ? "" : `M${col} ${row}v1`;
    return top + bottom + left + (has(row, col + 1) ? "" : `M${col + 1} ${row}v1`);
  }).join("");
}
