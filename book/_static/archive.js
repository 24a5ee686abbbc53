// The archive's table: rows that hold every word of the search stay; a click on a heading sorts by it.
const table = document.getElementById("archive-runs");
const body = table.tBodies[0];
document.getElementById("archive-search").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/);
  for (const row of body.rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
});
const key = (row, column) => row.cells[column].textContent;
[...table.tHead.rows[0].cells].forEach((cell, column) => {
  cell.querySelector("button").addEventListener("click", () => {
    const down = cell.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", down ? "ascending" : "descending");
    const rows = [...body.rows].sort((a, b) => key(a, column).localeCompare(key(b, column), undefined, { numeric: true }));
    body.append(...(down ? rows : rows.reverse()));
  });
});
