// ---- the question's words ----------------------------------------------------------------------------------------

const wordNames = () => [...map.words, "the end of the prompt"];

// The question above the picture, the words that guide underlined; what one of them looks at is shown by a click.
function wordsLine() {
  const line = make("div", { class: "pm-words", role: "group", "aria-label": "Words of the question" });
  for (const [text, index] of map.question) line.append(index < 0 ? text : wordButton(text, index));
  const rows = Math.max(0, ...map.late.map((drop) => rowsOf(drop).length));
  if (rows > map.words.length) line.append(" ", wordButton("end of the prompt", map.words.length));
  parts.words = line;
  return line;
}

function wordButton(text, index) {
  const at = map.late.filter((drop) => known(rowsOf(drop)[index]));
  if (!at.length) return make("u", { text, title: map.missing.word });
  return button(text, { class: "pm-word", "data-word": index, "aria-label": `${text}: what this word looks at` }, () => {
    word = index;
    setMode("word");
  });
}

function tellWords() {
  for (const made of parts.words.querySelectorAll(".pm-word")) {
    setIfNew(made, "aria-pressed", String(mode === "word" && Number(made.dataset.word) === word));
  }
}
