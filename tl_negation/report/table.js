// The table of units: sorted by its heads, filtered by words, opened row by row; everything
// unfolded in print.
(() => {
  const table = document.getElementById("units");
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const kept = [...document.querySelectorAll("#unit-rows > .unit-row")];
  const close = (row) => {
    const next = row.nextElementSibling;
    if (!next || !next.classList.contains("opened")) return;
    document.getElementById("unit-rows").append(next.firstElementChild.firstElementChild);
    next.remove();
    row.querySelector(".open").setAttribute("aria-expanded", "false");
  };
  const open = (row) => {
    const below = document.createElement("tr"), cell = document.createElement("td");
    const button = row.querySelector(".open");
    below.className = "opened";
    cell.colSpan = heads.length;
    cell.append(kept[button.dataset.row]);
    below.append(cell);
    row.after(below);
    button.setAttribute("aria-expanded", "true");
  };
  rows.forEach((row) => row.querySelector(".open").addEventListener("click", (event) => {
    (event.currentTarget.getAttribute("aria-expanded") === "true" ? close : open)(row);
  }));
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const first = head.classList.contains("number") ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const key = (row) => row.cells[column].dataset.key;
    const numeric = head.classList.contains("number"), sign = order === "ascending" ? 1 : -1;
    rows.forEach(close);
    rows.sort((a, b) => {
      const x = key(a), y = key(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (numeric ? x - y : x.localeCompare(y));
    });
    body.append(...rows);
  }));
  document.getElementById("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const row of rows) {
      const cells = [...row.cells].map((cell) => cell.textContent.toLowerCase());
      row.hidden = !words.every((word) => cells.some((cell) =>
        isNaN(word) ? cell.startsWith(word) : cell === word));
      if (row.hidden) close(row);
      found += !row.hidden;
    }
    document.getElementById("found").textContent = found + (found === 1 ? " unit" : " units");
  });
  document.getElementById("all-columns").addEventListener("click", (event) => {
    const all = table.classList.toggle("all");
    event.currentTarget.setAttribute("aria-pressed", String(all));
  });
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
  });
})();
