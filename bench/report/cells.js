// The table of cells: searched, sorted, in pages, kept to one group of seeds; each row with its learning curve.
(() => {
  "use strict";
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const {columns, rows, groups, curves, points, threshold} = read("cells-data");
  const table = document.getElementById("cells"), search = document.getElementById("cells-search");
  const info = document.getElementById("cells-info"), every = document.getElementById("cells-all");
  const back = document.getElementById("cells-back"), on = document.getElementById("cells-on");
  // The size of a curve in the page's template, and the last letter's number.
  const PAGE = 10, WIDE = 84, HIGH = 20, TOP = 63;
  let order = rows.map((_, row) => row), texts = null, group = "", page = 0, by = -1, down = false;

  const element = (tag, text = "") => Object.assign(document.createElement(tag), {textContent: text});
  // A curve has one letter for each epoch of a log scale up to its end, and the last of its end.
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const line = letters => {
    const svg = document.getElementById("spark").content.firstElementChild.cloneNode(true);
    const y = value => (1 + (HIGH - 2) * value / TOP).toFixed(1);
    svg.querySelector("path").setAttribute("d", `M0 ${y(threshold)}H${WIDE}`);
    const spots = [...letters].map((letter, k) => `${(WIDE * k / points).toFixed(1)},${y(alphabet.indexOf(letter))}`);
    svg.querySelector("polyline").setAttribute("points", spots.join(" "));
    return svg;
  };

  const kept = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length) texts ??= rows.map(row => row.join(" ").toLowerCase());
    return order.filter(row => (group === "" || groups[row] === Number(group)) && words.every(word => texts[row].includes(word)));
  };

  const show = () => {
    const own = kept(), last = Math.max(0, Math.ceil(own.length / PAGE) - 1);
    page = Math.min(page, last);
    const from = page * PAGE, part = own.slice(from, from + PAGE);
    table.tBodies[0].replaceChildren(...part.map(row => {
      const line_of = element("tr"), curve = element("td");
      if (curves[row]) curve.append(line(curves[row]));
      line_of.append(curve, ...rows[row].map(value => element("td", value === null ? "" : String(value))));
      return line_of;
    }));
    const filtered = own.length < rows.length ? ` (of ${rows.length})` : "";
    info.textContent = own.length ? `${from + 1} to ${from + part.length} of ${own.length} cells${filtered}` : "no cell has all of these words";
    back.disabled = page === 0;
    on.disabled = page === last;
    every.hidden = group === "";
  };

  const sort = column => {
    [by, down] = [column, by === column && !down];
    const sign = down ? -1 : 1, value = row => rows[row][column];
    order.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y))) || a - b;
    });
    [...table.tHead.rows[0].cells].slice(1).forEach((header, k) => {
      header.setAttribute("aria-sort", k !== by ? "none" : down ? "descending" : "ascending");
    });
    page = 0;
    show();
  };

  const header = table.createTHead().insertRow();
  table.createTBody();
  header.append(Object.assign(element("th", "learning curve"), {scope: "col", title: "tau by epoch, both on log scales; the grey line is the threshold"}));
  columns.forEach(({title, about}, column) => {
    const cell = Object.assign(element("th"), {scope: "col", title: about}), button = element("button", title);
    button.type = "button";
    button.addEventListener("click", () => sort(column));
    cell.append(button);
    header.append(cell);
  });
  document.getElementById("cells-controls").hidden = false;
  search.addEventListener("input", () => { page = 0; show(); });
  back.addEventListener("click", () => { page -= 1; show(); });
  on.addEventListener("click", () => { page += 1; show(); });
  every.addEventListener("click", () => { group = ""; show(); document.dispatchEvent(new Event("unpick")); search.focus(); });
  document.addEventListener("pick", event => { group = event.detail; page = 0; show(); });
  show();
})();
