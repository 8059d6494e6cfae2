// The maps: which are shown, what a cell under the mouse or the focus says, which cells the table keeps. The URL's hash has it all.
(() => {
  "use strict";
  const form = document.querySelector(".switch");
  if (!form) return;
  const {view, beside, at, minus} = form.elements;
  const maps = [...document.querySelectorAll("figure.map")], told = document.getElementById("told");
  const said = document.getElementById("maps-shown"), to = document.getElementById("to-cells");
  const defaults = {view: view.value, beside: "", at: "own", minus: ""};
  let picked = "";

  // The layer that a map shows: its own threshold where it has none of the chosen.
  const keys = map => [...new Set([...map.querySelectorAll(".at")].map(layer => layer.dataset.at))];
  const layerOf = map => {
    const own = keys(map), wanted = minus.checked ? [`${at.value}-`, at.value, "own-"] : [at.value];
    return wanted.find(key => own.includes(key)) ?? "own";
  };
  const shown = () => maps.filter(map => !map.hidden);
  const cells = panel => [...panel.querySelectorAll(".at:not([hidden]) .c")];

  // A title is the tooltip of a page without scripts; with them the line below the maps says it.
  const name = cell => {
    const title = cell.querySelector("title");
    if (title) {
      cell.setAttribute("aria-label", title.textContent);
      cell.setAttribute("role", "button");
      title.remove();
    }
    return cell.getAttribute("aria-label");
  };

  const show = () => {
    const views = new Set([view.value, beside.value].filter(Boolean));
    const inHash = view.value === "" ? maps : maps.filter(map => views.has(map.dataset.view));
    maps.forEach(map => {
      map.hidden = !inHash.includes(map);
      const chosen = layerOf(map);
      map.querySelectorAll(".at").forEach(layer => {
        // The marks of N50 belong to the map of the cells' own threshold.
        layer.toggleAttribute("hidden", layer.dataset.at !== chosen);
      });
    });
    const visible = shown();
    document.querySelector(".maps").classList.toggle("two", visible.length === 2);
    document.getElementById("delays").hidden = !visible.some(map => layerOf(map).endsWith("-"));
    said.textContent = `${visible.length} of ${maps.length} maps shown`;
    visible.forEach(map => {
      const all = [...map.querySelectorAll(".panel")].flatMap(cells);
      const enter = all.find(cell => cell.dataset.g === picked) ?? all[0];
      all.forEach(cell => cell.removeAttribute("tabindex"));
      if (enter) { name(enter); enter.setAttribute("tabindex", "0"); }
    });
  };

  const mark = () => {
    document.querySelectorAll(".c.on").forEach(cell => cell.classList.remove("on"));
    if (picked !== "") document.querySelectorAll(`.c[data-g="${picked}"]`).forEach(cell => cell.classList.add("on"));
    to.hidden = picked === "";
    document.dispatchEvent(new CustomEvent("pick", {detail: picked}));
  };

  const write = () => {
    const now = {view: view.value, beside: beside.value, at: at.value, minus: minus.checked ? "1" : "", cell: picked};
    const changed = Object.entries(now).filter(([key, value]) => value !== (defaults[key] ?? ""));
    history.replaceState(null, "", changed.length ? `#${new URLSearchParams(changed)}` : location.pathname + location.search);
  };

  const read = () => {
    const hash = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
    const of = key => hash.get(key) ?? defaults[key] ?? "";
    view.value = of("view");
    beside.value = of("beside");
    if (view.selectedIndex < 0) view.value = defaults.view;
    if (beside.selectedIndex < 0) beside.value = "";
    at.value = of("at");
    if (!at.value) at.value = "own";
    minus.checked = of("minus") === "1";
    picked = /^\d+$/.test(of("cell")) ? of("cell") : "";
    show();
    mark();
  };

  const tell = cell => {
    const map = cell.closest("figure").dataset.words;
    told.textContent = `${map ? `${map}: ` : ""}${name(cell)}.`;
  };
  const pick = cell => { picked = cell.dataset.g === picked ? "" : cell.dataset.g; mark(); write(); };

  // The next cell that way, over gaps, and on into the next panel.
  const next = (cell, up, right) => {
    const panel = cell.closest(".panel"), own = cells(panel);
    const [row, column] = cell.dataset.p.split(",").map(Number);
    const there = (all, i, j) => all.find(one => one.dataset.p === `${i},${j}`);
    const columns = own.map(one => Number(one.dataset.p.split(",")[1])), rows = own.map(one => Number(one.dataset.p.split(",")[0]));
    for (let i = row + up, j = column + right; i >= 0 && i <= Math.max(...rows) && j >= 0 && j <= Math.max(...columns); i += up, j += right) {
      const found = there(own, i, j);
      if (found) return found;
    }
    const other = right > 0 ? panel.nextElementSibling : right < 0 ? panel.previousElementSibling : null;
    if (!other || !other.matches(".panel")) return null;
    const line = cells(other).filter(one => one.dataset.p.startsWith(`${row},`));
    return (right > 0 ? line[0] : line[line.length - 1]) ?? cells(other)[0] ?? null;
  };
  const moves = {ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1]};

  const area = document.querySelector(".maps");
  const over = event => { const cell = event.target.closest(".c"); if (cell) tell(cell); };
  area.addEventListener("pointerover", over);
  area.addEventListener("focusin", over);
  area.addEventListener("click", event => { const cell = event.target.closest(".c"); if (cell) pick(cell); });
  area.addEventListener("keydown", event => {
    const cell = event.target.closest(".c");
    if (!cell) return;
    if (event.key in moves) {
      const to = next(cell, ...moves[event.key]);
      if (to) {
        cell.removeAttribute("tabindex");
        name(to);
        to.setAttribute("tabindex", "0");
        to.focus();
      }
    } else if (event.key === "Enter" || event.key === " ") pick(cell);
    else if (event.key === "Escape" && picked !== "") pick(document.querySelector(`.c[data-g="${picked}"]`));
    else return;
    event.preventDefault();
  });
  document.addEventListener("unpick", () => { picked = ""; mark(); write(); });
  to.addEventListener("click", () => document.getElementById("cells-search").focus());
  form.hidden = false;
  document.getElementById("maps-help").hidden = false;
  form.addEventListener("input", () => { show(); write(); });
  form.addEventListener("submit", event => event.preventDefault());
  window.addEventListener("hashchange", read);
  read();
})();
