// The nodule's outline on its picture, to be dragged. What is drawn solid is always what the numbers on the page are about:
// Python answers every wish with the nearest place that the nodule can take. Texts go through textContent.

const SVG = "http://www.w3.org/2000/svg";
const PATIENCE = 1500; // ms until a wish that nobody answered no longer holds back the next
const FURTHER = 5; // steps of an arrow key with Shift
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const pictures = new WeakMap(); // by the element that Streamlit gives: it stays from run to run

export default function ({ parentElement, data, setTriggerValue }) {
  if (!pictures.has(parentElement)) pictures.set(parentElement, picture(parentElement));
  pictures.get(parentElement)(data, (wish) => setTriggerValue("wish", wish));
}

/** Builds the picture; what comes back shows data and tells wishes, (down, right) in pixels from where the nodule lies. */
function picture(parent) {
  const root = added(parent, "div", "root");
  const stage = added(root, "div", "stage");
  const image = added(stage, "img", "image");
  image.alt = "";
  image.draggable = false;
  const svg = drawn(stage, "svg", "lines");
  svg.setAttribute("preserveAspectRatio", "none");
  const gland = drawn(svg, "path", "gland");
  const before = drawn(svg, "path", "before");
  const capsule = drawn(svg, "path", "capsule");
  const nodule = drawn(svg, "g", "nodule");
  const [grip, ring, now] = ["grip", "ring", "now"].map((name) => drawn(nodule, "path", name));
  const ghost = drawn(svg, "path", "ghost");
  const scale = drawn(svg, "path", "scale");
  const distance = added(stage, "span", "distance");
  const length = added(stage, "span", "length");
  const back = added(root, "button", "back");
  back.type = "button";
  distance.id = "distance";
  distance.setAttribute("aria-live", "polite");
  nodule.setAttribute("tabindex", "0");
  nodule.setAttribute("role", "application");
  nodule.setAttribute("aria-describedby", "distance");

  let shown, tell;
  let held; // where the pointer took hold, and the shift there
  let asked, wanted, timer; // the wish on its way, if any, and the last one
  let turn = 0;

  const ask = (wish) => {
    wanted = wish;
    if (asked) return; // one at a time, the last one wins: the picture is as live as the answers are quick
    asked = wish;
    timer = setTimeout(answered, PATIENCE);
    tell({ down: Math.round(10 * wish[0]) / 10, right: Math.round(10 * wish[1]) / 10, turn: ++turn });
  };
  const answered = () => {
    clearTimeout(timer);
    const next = wanted === asked ? undefined : wanted;
    asked = wanted = undefined;
    if (next) ask(next);
  };
  const wished = (event) => {
    const box = stage.getBoundingClientRect();
    const [rows, columns] = shown.size;
    return [
      held.shift[0] + ((event.clientY - held.y) / box.height) * rows,
      held.shift[1] + ((event.clientX - held.x) / box.width) * columns,
    ];
  };
  const release = () => {
    held = undefined;
    root.classList.remove("held");
  };

  nodule.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    nodule.focus({ preventScroll: true, focusVisible: false });
    nodule.setPointerCapture(event.pointerId);
    held = { x: event.clientX, y: event.clientY, shift: shown.shift };
    ghost.setAttribute("d", shown.now);
    ghost.removeAttribute("transform");
    root.classList.add("held");
  });
  nodule.addEventListener("pointermove", (event) => {
    if (!held) return;
    const wish = wished(event);
    ghost.setAttribute("transform", `translate(${wish[1] - held.shift[1]} ${wish[0] - held.shift[0]})`);
    ask(wish);
  });
  nodule.addEventListener("pointerup", (event) => {
    if (!held) return;
    const wish = wished(event);
    if (Math.hypot(event.clientX - held.x, event.clientY - held.y) > 2) ask(wish); // else a click, which moves nothing
    release();
  });
  nodule.addEventListener("pointercancel", release);
  nodule.addEventListener("keydown", (event) => {
    const way = ARROWS[event.key];
    if (!way) return;
    event.preventDefault();
    const from = wanted ?? shown.shift;
    ask(from.map((v, i) => v + way[i] * shown.step[i] * (event.shiftKey ? FURTHER : 1)));
  });
  back.addEventListener("click", () => ask([0, 0]));

  return (data, tellPython) => {
    shown = data;
    tell = tellPython;
    const [rows, columns] = data.size;
    stage.style.aspectRatio = `${columns} / ${rows * data.ratio}`;
    stage.style.maxWidth = `${(26 * columns) / (rows * data.ratio)}rem`;
    svg.setAttribute("viewBox", `0 0 ${columns} ${rows}`);
    if (image.src !== data.image) image.src = data.image;
    nodule.setAttribute("aria-label", data.words.nodule);
    back.textContent = data.words.back;
    back.disabled = data.now === data.before;
    for (const [path, d] of [[gland, data.gland], [before, data.before], [capsule, data.capsule], [scale, data.scale]])
      path.setAttribute("d", d);
    for (const path of [grip, ring, now]) path.setAttribute("d", data.now);
    before.style.display = data.now === data.before ? "none" : "";
    place(distance, data.distance, data.size);
    place(length, data.length, data.size);
    if (asked && data.wish?.turn === turn) answered();
  };
}

/** A label at (row, column) of the picture; hidden where there is none. */
function place(label, told, [rows, columns]) {
  label.style.display = told ? "" : "none";
  if (!told) return;
  label.textContent = told.text;
  label.style.left = `${(100 * told.at[1]) / columns}%`;
  label.style.top = `${(100 * told.at[0]) / rows}%`;
  const [y, x] = told.anchor.map((share, i) => `calc(${share}% + ${told.offset[i]}px)`); // of itself, and screen pixels
  label.style.transform = `translate(${x}, ${y})`;
}

function added(parent, tag, name) {
  const element = parent.appendChild(document.createElement(tag));
  element.className = name;
  return element;
}

function drawn(parent, tag, name) {
  const element = parent.appendChild(document.createElementNS(SVG, tag));
  element.setAttribute("class", name);
  return element;
}
