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
