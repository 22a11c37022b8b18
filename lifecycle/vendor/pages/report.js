"use strict";
(() => {
  const body = document.querySelector("#customers tbody");
  if (!body) return;
  const pick = (id) => document.getElementById(id);
  const search = pick("search"), status = pick("status"), acts = pick("acts"), order = pick("order");
  const rows = Array.from(body.rows, (row) => ({
    row,
    text: `${row.textContent} ${row.dataset.find}`.toLowerCase(),
    status: row.dataset.status,
    acts: row.dataset.acts.split(" "),
    shown: true,
  }));
  document.querySelector(".controls").hidden = false;

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const one of rows) {
      const fits = (!status.value || one.status === status.value) &&
        (!acts.value || one.acts.includes(acts.value)) &&
        words.every((word) => one.text.includes(word));
      // Only what changes is touched: the browser lays out nothing else anew.
      if (fits !== one.shown) one.row.hidden = !(one.shown = fits);
      count += fits;
    }
    pick("shown").textContent = `${count} of ${rows.length} shown`;
  };
  search.addEventListener("input", filter);
  status.addEventListener("change", filter);
  acts.addEventListener("change", filter);

  // A number at the top shows whom it counts.
  for (const tile of document.querySelectorAll(".tiles li")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...tile.childNodes);
    button.addEventListener("click", () => {
      search.value = status.value = acts.value = "";
      pick(tile.dataset.filter).value = tile.dataset.value;
      filter();
      document.querySelector(".controls").scrollIntoView();
    });
    tile.append(button);
  }

  const collator = new Intl.Collator(undefined, { numeric: true });
  const asBuilt = rows.slice();
  const show = (sorted) => body.replaceChildren(...sorted.map(({ row }) => row));
  const heads = Array.from(document.querySelectorAll("#customers thead th"));
  const sort = (column) => {
    const up = heads[column].getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
    const keyed = asBuilt.map((one) => {
      const cell = one.row.cells[column];
      return [cell.dataset.sort ?? cell.textContent.trim(), one];
    });
    keyed.sort(([a], [b]) => (up ? 1 : -1) * collator.compare(a, b));
    show(keyed.map(([, one]) => one));
  };
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => sort(column));
  });
  // Where the table is narrow it has no headings to click.
  order.addEventListener("change", () => {
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    if (order.value) sort(Number(order.value));
    else show(asBuilt);
  });
  filter();
})();
