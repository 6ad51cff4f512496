// Sorts a table by the column whose heading is pressed, again the other way round. Gradio runs this once per component
// with `element`; the rows come and come anew from Python, the chosen order stays. Rows that failed stay below.

let column = null;
let falling = false;

const value = (row) => {
  const text = row.cells[column].dataset.value;
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
};

function compare(one, other) {
  const [a, b] = [value(one), value(other)];
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  return falling ? -order : order;
}

function sort() {
  const table = element.querySelector("table");
  if (column === null || !table) return;
  observer.disconnect(); // what we move ourselves is no news
  const rows = [...table.tBodies[0].rows];
  const failed = rows.filter((row) => row.classList.contains("failed"));
  const sorted = rows.filter((row) => !row.classList.contains("failed")).sort(compare);
  table.tBodies[0].append(...sorted, ...failed);
  [...table.tHead.rows[0].cells].forEach((cell, at) => {
    if (at === column) cell.setAttribute("aria-sort", falling ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
  watchRows();
}

const observer = new MutationObserver(sort);
const watchRows = () => observer.observe(element, { childList: true, subtree: true });

element.addEventListener("click", (event) => {
  const heading = event.target.closest("thead th");
  if (!heading) return;
  falling = column === heading.cellIndex && !falling;
  column = heading.cellIndex;
  sort();
});
watchRows();
