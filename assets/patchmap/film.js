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

const atStep = (own) => (step === 0 ? own.patches : live && step === 1 ? live.own[own.home] : own.tokens[map.steps[step].layer]);
const seconds = (time) => `${time.toFixed(1)} s`;

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
  const [width, left, top, row] = [320, 42, 4, Math.max(7, Math.min(14, 112 / layers))];
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
