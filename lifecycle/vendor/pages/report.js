"use strict";
(() => {
  const body = document.querySelector("#customers tbody");
  if (!body) return;
  const controls = document.querySelector(".controls");
  const search = document.querySelector("#search");
  const status = document.querySelector("#status");
  const shown = document.querySelector("#shown");
  const rows = Array.from(body.rows, (row) => ({ row, text: row.textContent.toLowerCase() }));
  controls.hidden = false;

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { row, text } of rows) {
      const fits = (!status.value || row.dataset.status === status.value) &&
        words.every((word) => text.includes(word));
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} shown`;
  };
  search.addEventListener("input", filter);
  status.addEventListener("change", filter);

  const heads = Array.from(document.querySelectorAll("#customers thead th"));
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = ({ row }) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      const compare = new Intl.Collator(undefined, { numeric: true }).compare;
      rows.sort((a, b) => (up ? 1 : -1) * compare(key(a), key(b)));
      body.append(...rows.map(({ row }) => row));
    });
  });
  filter();
})();
