// The slider was let go: the model answers at its new place, once the visitor has asked about this picture or clip and
// question. A run that is under way ends first, so that none is lost; then the last place counts. Gradio drops a click
// until it has heard of a run's end, which is a moment after Ask can be pressed again: hence one more rest then.
(() => {
  const REST = 450; // milliseconds; a key pressed again and again is one move
  const place = () => document.querySelector("#reduction input[type=range]")?.value;
  let asked = null; // where the slider stood at the last Ask; null before the first one
  let waiting = 0;

  const later = () => {
    clearTimeout(waiting);
    if (asked === null) return;
    const ask = document.querySelector("#ask");
    waiting = setTimeout(again, REST, ask, ask.disabled);
  };
  const again = (ask, wasRunning) => {
    if (place() === asked) return;
    if (ask.disabled || wasRunning) return later();
    ask.click();
  };
  const forget = () => {
    asked = null;
    clearTimeout(waiting);
  };

  window.addEventListener("duet-asked", () => {
    clearTimeout(waiting);
    asked = place();
  });
  for (const name of ["duet-other-subject", "duet-other-question"]) window.addEventListener(name, forget);
  document.addEventListener("change", ({ target }) => target.closest("#reduction") && later());
  document.addEventListener("click", ({ target }) => target.closest("#stop") && clearTimeout(waiting));
})();
