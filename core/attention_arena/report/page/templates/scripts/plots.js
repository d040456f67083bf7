// What is to be read at a point: by pointer, by touch, and by the arrow keys of a plot that has the focus.
const REACH = 28;
const tip = document.getElementById("tip");
const read = new WeakMap();
let current = null;
let byKey = false;

// The spots of a plot that are shown, in the units of its picture.
function spotsOf(plot) {
  if (!read.has(plot)) {
    const owner = plot.closest("[data-variant]")?.dataset.variant;
    const found = [...plot.querySelectorAll("[data-spots]")].flatMap((element) =>
      JSON.parse(element.dataset.spots).map(([x, y, text]) => ({ element, x, y, text, variant: element.dataset.variant ?? owner ?? "" })));
    read.set(plot, found);
  }
  // Variants first, whatever was drawn before them.
  const shown = read.get(plot).filter(({ element }) => !element.closest(".off"));
  return [...shown.filter(({ variant }) => variant), ...shown.filter(({ variant }) => !variant)];
}

function onScreen(plot, spot) {
  const svg = plot.querySelector("svg");
  const point = new DOMPoint(spot.x, spot.y).matrixTransform(svg.getScreenCTM());
  return [point.x, point.y];
}

function show(plot, spot) {
  const strong = document.createElement("strong");
  strong.textContent = spot.variant;
  tip.replaceChildren(strong, spot.text);
  tip.hidden = false;
  current = [plot, spot];
  place();
  plot.dataset.at = read.get(plot).indexOf(spot);
  ring(plot, spot);
}

// Beside the point, wherever the page has been scrolled to.
function place() {
  const [x, y] = onScreen(...current);
  const box = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, x - box.width / 2), document.documentElement.clientWidth - box.width - 8);
  const top = y - box.height - 14 < 4 ? y + 14 : y - box.height - 14;
  tip.style.translate = `${left}px ${top}px`;
}

function ring(plot, spot) {
  const svg = plot.querySelector("svg");
  let mark = svg.querySelector(".ring");
  if (!mark) {
    mark = document.createElementNS(svg.namespaceURI, "circle");
    mark.setAttribute("class", "ring");
    mark.setAttribute("r", "7");
    svg.append(mark);
  }
  mark.setAttribute("cx", spot.x);
  mark.setAttribute("cy", spot.y);
}

function hide(plot) {
  tip.hidden = true;
  current = null;
  plot.querySelector(".ring")?.remove();
}

function nearest(plot, event) {
  let best = null;
  let least = REACH;
  for (const spot of spotsOf(plot)) {
    const [x, y] = onScreen(plot, spot);
    const distance = Math.hypot(x - event.clientX, y - event.clientY);
    if (distance < least) [best, least] = [spot, distance];
  }
  return best;
}

// Left and right go along a line, up and down to the next line at the nearest place.
function step(plot, key) {
  const spots = spotsOf(plot);
  const now = read.get(plot)[plot.dataset.at];
  if (!spots.length) return null;
  if (!now || !spots.includes(now)) return spots[0];
  const lines = [...new Set(spots.map(({ element }) => element))];
  const line = spots.filter(({ element }) => element === now.element);
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const place = line.indexOf(now) + (key === "ArrowRight" ? 1 : -1);
    if (line[place]) return line[place];
    if (line.length > 1) return now;
  }
  const forwards = key === "ArrowDown" || key === "ArrowRight";
  const next = lines[(lines.indexOf(now.element) + (forwards ? 1 : lines.length - 1)) % lines.length];
  const there = spots.filter(({ element }) => element === next);
  return there.reduce((best, spot) => (Math.abs(spot.x - now.x) < Math.abs(best.x - now.x) ? spot : best));
}

for (const plot of document.querySelectorAll(".plot")) {
  if (!plot.querySelector("[data-spots]")) continue;
  const point = (event) => {
    // A page that scrolls under a pointer at rest is no movement, and leaves what the keys have chosen.
    if (byKey && !event.movementX && !event.movementY) return;
    byKey = false;
    const spot = nearest(plot, event);
    if (spot) show(plot, spot);
    else hide(plot);
  };
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("pointerleave", () => { if (!byKey) hide(plot); });
  plot.addEventListener("blur", () => hide(plot));
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide(plot);
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    byKey = true;
    const spot = step(plot, event.key);
    if (spot) show(plot, spot);
  });
}
addEventListener("scroll", () => { if (current) place(); }, { passive: true });

// The frontier of what is shown: right is faster and up is better in every such panel.
function frontier(plot, line) {
  const spots = spotsOf(plot).filter(({ variant }) => variant);
  const front = spots.filter((spot) => !spots.some((other) =>
    other.x >= spot.x && other.y <= spot.y && (other.x > spot.x || other.y < spot.y)));
  front.sort((left, right) => left.x - right.x);
  line.setAttribute("d", front.map(({ x, y }, index) => `${index ? "L" : "M"} ${x} ${y}`).join(" "));
}

document.addEventListener("arena:chosen", () => {
  if (current) hide(current[0]);
  for (const line of document.querySelectorAll("[data-role=frontier] path")) frontier(line.closest(".plot"), line);
});
