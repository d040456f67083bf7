// Tables that are sorted by a click on a heading, filtered by what one types, and copied.
const MANY = 8;

function sortKey(cell) {
  if (!cell) return "";
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  const number = text.replaceAll(",", "").replace("\u2212", "-").match(/^[<≤≥+ ]*(-?\d+(\.\d+)?(e-?\d+)?)/);
  return cell.classList.contains("number") ? (number ? Number(number[1]) : NaN) : text.toLowerCase();
}

// Cells without a number come last, whichever way the others run.
function compare(left, right, direction) {
  const missing = Number(Number.isNaN(left) || left === "") - Number(Number.isNaN(right) || right === "");
  if (missing) return missing;
  if (typeof left === "number" && typeof right === "number") return direction * (left - right || 0);
  return direction * String(left).localeCompare(String(right), undefined, { numeric: true });
}

function sortBy(table, heading) {
  const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const each of table.tHead.querySelectorAll("[aria-sort]")) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [sortKey(row.cells[heading.cellIndex]), row]);
  keyed.sort((left, right) => compare(left[0], right[0], direction));
  body.append(...keyed.map(([, row]) => row));
}

function makeSortable(table) {
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(table, heading));
  }
}

function makeFilter(table, bar) {
  const box = document.createElement("input");
  box.type = "search";
  box.placeholder = "filter rows";
  box.setAttribute("aria-label", `Filter rows of: ${table.caption.textContent}`);
  box.addEventListener("input", () => {
    const wanted = box.value.trim().toLowerCase();
    for (const row of table.tBodies[0].rows) row.classList.toggle("filtered", !row.textContent.toLowerCase().includes(wanted));
  });
  bar.append(box);
}

for (const box of document.querySelectorAll(".table")) {
  const table = box.querySelector("table");
  if (table.tBodies[0].rows.length < 2) continue;
  makeSortable(table);
  const bar = document.createElement("div");
  bar.className = "bar";
  if (table.tBodies[0].rows.length >= MANY) makeFilter(table, bar);
  box.prepend(bar);
}
