// ---- the slider: stage 1 drawn anew in the browser, without a request --------------------------------------------

// What stage 1 makes of a plan (duet_core/merging.py), frame by frame: the best stay, the next ones are the pool, every
// n-th of which is an anchor; the others of the pool merge, and what is outside it goes. Painted patches stand outside:
// those to keep take the places of others (duet_core/painting.py). Which anchor a patch joins depends on keys that the
// browser does not have.
function stageOne(plan) {
  const { order, extra } = map.live;
  const each = patchesEach();
  const numberOf = (fate) => map.looks.findIndex((look) => look.fate === fate);
  const numbers = ["dominant", "anchor", "merged", "dropped-before"].map(numberOf);
  const labels = new Array(order.length);
  const own = [];
  let tokens = 0;
  for (let first = 0; first < order.length; first += each) {
    const [free, keep] = [[], []];
    for (const cell of order.slice(first, first + each)) {
      const how = painted.get(first + cell);
      if (how) labels[first + cell] = numbers[how === "keep" ? 0 : 3];
      if (how !== "drop") (how ? keep : free).push(first + cell);
    }
    const ranks = ranksOf(plan, free.length, keep.length, extra);
    free.forEach((patch, rank) => (labels[patch] = numbers[ranks[rank]]));
    own.push(keep.length + ranks.filter((rank) => rank < 2).length);
    tokens += own.at(-1) + (plan[0] === null ? 0 : extra);
  }
  return { labels, own, tokens };
}

// The fates of ranked patches, 0 dominant, 1 anchor, 2 merged, 3 dropped, beside so many that are kept by hand.
function ranksOf([dominant, contextual, width], patches, keep, extra) {
  if (dominant === null) return new Array(patches).fill(0);
  const wanted = Math.max(1, dominant - keep);
  const merging = Math.max(0, dominant + contextual - keep - wanted);
  const [kept, groups] = [Math.min(wanted - extra, patches), Math.max(1, merging)];
  const pool = Math.min(Math.max(1, width * merging), patches - kept);
  const stride = Math.max(1, Math.floor(pool / groups));
  const isAnchor = (at) => at % stride === 0 && at / stride < groups;
  return Array.from({ length: patches }, (_, rank) => {
    if (rank < kept) return 0;
    if (rank >= kept + pool) return 3;
    return isAnchor(rank - kept) ? 1 : 2;
  });
}

const countsOf = (labels) => {
  const counts = {};
  for (const label of labels) counts[map.looks[label].fate] = (counts[map.looks[label].fate] ?? 0) + 1;
  return counts;
};

// Draws the slider's place; where that leaves as many of every fate as the run shown, the run itself.
function tryOut([reduction, method]) {
  slider = [reduction, method];
  if (!map) return;
  const scored = map.live && map.stage1.every((score, patch) => score !== null || painted.has(patch));
  const plan = scored && method === map.live.method ? map.live.plans[Math.round(reduction)] : null;
  const next = plan ? stageOne(plan) : null;
  const counts = next ? countsOf(next.labels) : {};
  const [before, own] = [live, countsOf(map.steps[1]?.labels ?? [])];
  const isRun = next && map.looks.every(({ fate }) => (counts[fate] ?? 0) === (own[fate] ?? 0));
  live = next && !isRun ? { ...next, sentence: liveSentence(reduction, counts) } : null;
  parts.still = plan || isRun ? "" : map.still;
  if (live) [mode, step] = ["fate", 1];
  if (live || before) redraw();
  else tellNote();
}

function liveSentence(reduction, counts) {
  const { dominant = 0, anchor = 0, merged = 0, "dropped-before": dropped = 0 } = counts;
  const text = anchor || merged || dropped ? map.live.sentence : map.live.everything;
  return fill(text, { reduction, dominant, anchor, merged, dropped });
}

let slider = null; // where it stood last, and the method in the menu
let waiting = 0;
let resting = 0;

// At most once per frame of the screen; the small pictures follow when the slider rests.
function redraw() {
  waiting ||= requestAnimationFrame(() => {
    waiting = 0;
    goTo(step, null, true);
    clearTimeout(resting);
    resting = setTimeout(thumbs, 160);
  });
}

window.addEventListener("duet-slider", (event) => tryOut(event.detail));
