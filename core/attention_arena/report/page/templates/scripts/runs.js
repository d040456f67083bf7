// Every run: a table that is filled from data in the page, and a panel that is filled from a file beside it.
const PAGE = 50;
const SVG = document.querySelector("svg.shared").namespaceURI;
const holder = document.getElementById("run-table");
const dialog = document.getElementById("run");
const loaded = new Map();

// Files beside the page call this: columns of their runs' records, and what several runs or curves share by its place.
window.arenaRuns = ({ shared, columns, specs, steps, spec, curves, logs }) => {
  columns.run.forEach((name, place) => {
    const own = Object.entries(columns).map(([key, values]) => [key, values[place]]).filter(([, value]) => value !== null);
    const record = { ...shared, ...Object.fromEntries(own) };
    const asked = specs[spec[place]];
    loaded.set(name, {
      record,
      log: logs[place],
      spec: asked && JSON.stringify({ ...JSON.parse(asked), seed: record.seed }, null, 1),
      curves: curves[place].map(([split, metric, at, values]) => [split, metric, steps[at].map((step, index) => [step, values[index]])]),
    });
  });
};

function make(tag, text = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function load(place, index) {
  const name = index.runs[place][0];
  if (loaded.has(name)) return Promise.resolve(loaded.get(name));
  return new Promise((resolve, reject) => {
    const script = make("script", "", { src: `runs/${String(Math.floor(place / index.per_file)).padStart(4, "0")}.js` });
    script.addEventListener("load", () => resolve(loaded.get(name)));
    script.addEventListener("error", reject);
    document.head.append(script);
  });
}

function curve([split, metric, points]) {
  const [width, height, pad] = [320, 150, 28];
  const xs = points.map((point) => point[0]);
  const ys = points.map((point) => point[1]);
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const x = (value) => pad + (width - 2 * pad) * (right > left ? (value - left) / (right - left) : 0.5);
  const y = (value) => height - pad - (height - 2 * pad) * (high > low ? (value - low) / (high - low) : 0.5);
  const figure = make("figure");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${split} ${metric} by step: from ${ys[0]} to ${ys.at(-1)}`);
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("points", points.map((point) => `${x(point[0]).toFixed(1)},${y(point[1]).toFixed(1)}`).join(" "));
  svg.append(line);
  const label = (text, at, across, anchor) => {
    const element = document.createElementNS(SVG, "text");
    element.textContent = text;
    element.setAttribute("x", across);
    element.setAttribute("y", at);
    element.setAttribute("text-anchor", anchor);
    svg.append(element);
  };
  label(high.toPrecision(4), pad - 10, 0, "start");
  label(low.toPrecision(4), height - pad + 14, 0, "start");
  label(`step ${right.toLocaleString("en")}`, height - 4, width, "end");
  figure.append(svg, make("figcaption", `${split} ${metric.replaceAll("_", " ")}`));
  return figure;
}

function facts(record) {
  const list = make("dl", "", { class: "facts" });
  for (const [name, value] of Object.entries(record)) {
    if (name === "run") continue;
    list.append(make("dt", name.replaceAll("_", " ")), make("dd", String(value)));
  }
  return list;
}

function part(title, text) {
  return [make("h3", title), make("pre", text, { tabindex: "0" })];
}

function fill(name, told) {
  document.getElementById("run-title").textContent = name;
  const curves = make("div", "", { class: "curves" });
  curves.append(...told.curves.filter((each) => each[2].length).map(curve));
  const body = document.getElementById("run-body");
  body.replaceChildren(curves);
  if (told.log) body.append(...part("The end of its log", told.log));
  if (told.spec) body.append(...part("What it was asked", told.spec));
  body.append(make("h3", "Its record"), facts(told.record));
}

async function open(place, index) {
  const name = index.runs[place][0];
  try {
    fill(name, await load(place, index));
  } catch {
    document.getElementById("run-title").textContent = name;
    document.getElementById("run-body").replaceChildren(make("p", "Its file is missing: the folder runs/ belongs beside this page."));
  }
  dialog.showModal();
}

function sortKey(cell) {
  return Array.isArray(cell) ? cell[1] : cell;
}

function compare(left, right, direction) {
  if (left === null || right === null) return Number(left === null) - Number(right === null);
  return direction * (typeof left === "number" ? left - right : String(left).localeCompare(String(right)));
}

function build(index) {
  const state = { order: index.runs.map((_, place) => place), column: null, direction: 1, wanted: "", first: 0, hidden: null };
  const table = make("table", "", { class: "text pinned" });
  table.append(make("caption", "Every run", { class: "unseen" }));
  const head = table.createTHead().insertRow();
  const body = table.createTBody();
  const bar = make("div", "", { class: "bar" });
  const box = make("input", "", { type: "search", placeholder: "filter runs", "aria-label": "Filter runs" });
  const told = make("span", "", { role: "status" });
  const [back, on] = [make("button", "previous", { type: "button" }), make("button", "next", { type: "button" })];

  const isShown = (run) => !(state.hidden?.variant.has(run[1]) || state.hidden?.task.has(run[2]))
    && (!state.wanted || run.some((cell) => String(Array.isArray(cell) ? cell[0] : cell ?? "").toLowerCase().includes(state.wanted)));

  function draw() {
    const shown = state.order.filter((place) => isShown(index.runs[place]));
    state.first = Math.max(0, Math.min(state.first, Math.floor((shown.length - 1) / PAGE) * PAGE));
    const rows = shown.slice(state.first, state.first + PAGE).map((place) => {
      const row = make("tr");
      index.runs[place].forEach((cell, column) => {
        const element = make(column ? "td" : "th", column ? (Array.isArray(cell) ? cell[0] : cell ?? "") : "");
        if (Array.isArray(cell) || typeof cell === "number") element.className = "number";
        if (!column) {
          element.scope = "row";
          const button = make("button", cell, { type: "button", class: "link" });
          button.addEventListener("click", () => open(place, index));
          element.append(button);
        }
        row.append(element);
      });
      return row;
    });
    body.replaceChildren(...rows);
    const last = Math.min(state.first + PAGE, shown.length);
    told.textContent = shown.length ? `${state.first + 1} to ${last} of ${shown.length} runs` : "no run is shown";
    back.disabled = state.first === 0;
    on.disabled = last >= shown.length;
  }

  index.columns.forEach((name, column) => {
    const heading = make("th", "", { scope: "col" });
    const button = make("button", name, { type: "button" });
    heading.append(button);
    button.addEventListener("click", () => {
      state.direction = state.column === column ? -state.direction : 1;
      state.column = column;
      state.order.sort((left, right) => compare(sortKey(index.runs[left][column]), sortKey(index.runs[right][column]), state.direction));
      for (const each of head.cells) each.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", state.direction === 1 ? "ascending" : "descending");
      draw();
    });
    head.append(heading);
  });
  box.addEventListener("input", () => { state.wanted = box.value.trim().toLowerCase(); state.first = 0; draw(); });
  back.addEventListener("click", () => { state.first -= PAGE; draw(); });
  on.addEventListener("click", () => { state.first += PAGE; draw(); });
  document.addEventListener("arena:chosen", (event) => { state.hidden = event.detail; draw(); });
  bar.append(box, told, back, on);
  const scroll = make("div", "", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Every run" });
  scroll.append(table);
  const whole = make("div", "", { class: "runs" });
  whole.append(bar, scroll);
  holder.append(whole);
  draw();
}

if (holder) build(JSON.parse(document.getElementById("run-index").textContent));
document.getElementById("run-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
