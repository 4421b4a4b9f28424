"use strict";
(() => {
  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const number = text === "" || text === "–" ? NaN : Number(text);
    return { text, number, empty: text === "" || text === "–" };
  };
  const compare = (a, b) => {
    if (a.empty !== b.empty) return a.empty ? 1 : -1;
    if (!Number.isNaN(a.number) && !Number.isNaN(b.number)) return a.number - b.number;
    return a.text.localeCompare(b.text, "en", { numeric: true });
  };
  for (const table of document.querySelectorAll("table")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        for (const body of table.tBodies) {
          const rows = [...body.querySelectorAll("tr.row")];
          rows.sort((a, b) => {
            const [x, y] = [value(a, column), value(b, column)];
            return x.empty || y.empty ? compare(x, y) : (down ? -1 : 1) * compare(x, y);
          });
          body.append(...rows);
        }
      });
    });
  }
  addEventListener("beforeprint", () => {
    for (const box of document.querySelectorAll("details.how, section:not(#provenance) details")) box.open = true;
  });
  const filter = document.getElementById("filter");
  if (filter) filter.closest("label").hidden = false;
  filter?.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const card of document.querySelectorAll("section.card")) {
      const title = card.querySelector("h2").textContent.toLowerCase();
      for (const body of card.querySelectorAll("tbody")) {
        let shown = 0;
        for (const row of body.querySelectorAll("tr.row")) {
          const text = `${title} ${body.dataset.group ?? ""} ${row.textContent}`.toLowerCase();
          const keep = wanted.every((word) => text.includes(word));
          row.classList.toggle("hidden", !keep);
          shown += keep ? 1 : 0;
        }
        body.querySelector("tr.setting")?.classList.toggle("hidden", shown === 0);
      }
    }
  });
})();
