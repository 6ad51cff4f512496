// Shows one step of "How it works" at a time: buttons, numbers and arrow keys move. Gradio runs this once per component
// with `element`; the steps come anew from Python, and the step that was open stays open.

let open = 1;

function show(step) {
  const steps = [...element.querySelectorAll(".walk-step")];
  if (!steps.length) return;
  open = Math.min(Math.max(step, 1), steps.length);
  observer.disconnect(); // what we change ourselves is no news
  for (const one of steps) one.hidden = Number(one.dataset.step) !== open;
  for (const dot of element.querySelectorAll(".walk-dot")) {
    if (Number(dot.dataset.step) === open) dot.setAttribute("aria-current", "step");
    else dot.removeAttribute("aria-current");
  }
  element.querySelector(".walk-back").disabled = open === 1;
  element.querySelector(".walk-on").disabled = open === steps.length;
  watchSteps();
}

const observer = new MutationObserver(() => show(open));
const watchSteps = () => observer.observe(element, { childList: true, subtree: true });

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.classList.contains("walk-dot")) show(Number(button.dataset.step));
  if (button.classList.contains("walk-back")) show(open - 1);
  if (button.classList.contains("walk-on")) show(open + 1);
  element.querySelector(".walk").focus({ preventScroll: true }); // a button that is off now would lose the arrow keys
});

element.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: open - 1, ArrowRight: open + 1, Home: 1, End: 5 };
  if (!(event.key in moves) || !event.target.closest(".walk")) return;
  event.preventDefault();
  show(moves[event.key]);
});

show(1);
watchSteps();
