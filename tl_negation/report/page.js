// Points of figures answer the pointer, tables and figures can be saved, units open in text.
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const point = (event) => {
    const mark = event.target.closest && event.target.closest("figure use, .opened use");
    const title = mark && mark.querySelector("title");
    tip.hidden = !title;
    if (!title) return;
    tip.textContent = title.textContent;
    const room = innerWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, Math.min(event.clientX + 12, room)) + "px";
    tip.style.top = Math.max(8, event.clientY - tip.offsetHeight - 10) + "px";
  };
  document.addEventListener("pointerover", point);
  document.addEventListener("pointerdown", point);

  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const button = (text, label, action) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "save";
    made.textContent = text;
    made.setAttribute("aria-label", label);
    made.addEventListener("click", action);
    return made;
  };
  const quoted = (text) => (/[",\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text);
  const value = (cell) => quoted(cell.dataset.key === undefined ? cell.textContent : cell.dataset.key);
  document.querySelectorAll("table[id]").forEach((table) => {
    const rows = () => [...table.rows].filter((row) => !row.classList.contains("opened"));
    const csv = () => rows().map((row) => [...row.cells].map(value).join(",")).join("\n") + "\n";
    const name = table.caption ? table.caption.textContent : table.id;
    table.closest(".scroll").after(button("Save as CSV", "Save as CSV: " + name,
      () => save(table.id + ".csv", "text/csv", csv())));
  });
  document.querySelectorAll("figure").forEach((figure) => {
    const drawn = figure.querySelector("svg"), title = figure.querySelector("figcaption strong");
    figure.append(button("Save as SVG", "Save as SVG: " + title.textContent, () =>
      save(drawn.getAttribute("aria-labelledby").split("-title")[0] + ".svg", "image/svg+xml",
        new XMLSerializer().serializeToString(drawn))));
  });

  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[data-unit]");
    const lists = document.querySelectorAll(".tln-choice select");
    if (!link || lists.length < 2) return;
    const [layer, unit] = lists;
    layer.value = link.dataset.layer;
    layer.dispatchEvent(new Event("change"));
    const option = [...unit.options].find((one) => one.textContent === link.dataset.unit);
    if (!option) return;
    unit.value = option.value;
    unit.dispatchEvent(new Event("change"));
    unit.focus({ preventScroll: true });
  });
})();
