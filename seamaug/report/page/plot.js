// A plot of many dots on a canvas: axes, dots that are drawn by their owner, and what is clicked.

// Asking for a style is slow: once for each painting, not for each dot.
const palette = new Map();

/** A colour of the style sheet, such as --ink. */
function color(name) {
  if (!palette.has(name)) {
    palette.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  }
  return palette.get(name);
}

/** Round values from low to high, about `most` of them. */
function ticks(low, high, most) {
  const rough = (high - low) / most;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((value) => value >= rough);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high; n++) found.push(n * step);
  return found.map((value) => [value, digits(value, Math.max(0, -Math.floor(Math.log10(step))))]);
}

function extent(values) {
  const low = values.reduce((a, b) => Math.min(a, b), Infinity);
  const high = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const pad = (high - low || 1) * 0.04;
  return [low - pad, high + pad];
}

class Plot {
  /**
   * `dots` have x and y; `draw(context, dot, x, y)` paints one; `choose(dot)` is told of a click.
   * `labels` are those of the axes; without `ticks` the axes have no numbers.
   */
  constructor(canvas, { dots, labels, draw, choose, numbered = true }) {
    Object.assign(this, { canvas, dots, labels, draw, choose, numbered, chosen: null });
    canvas.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  show(dots, labels) {
    Object.assign(this, { dots, labels });
    this.paint();
  }

  select(dot) {
    this.chosen = dot;
    this.paint();
  }

  /** Where a dot lies, in pixels of the page. */
  place(dot) {
    const { left, right, top, bottom } = this.box;
    const share = (value, [low, high]) => (value - low) / (high - low);
    return [left + share(dot.x, this.across) * (right - left),
      bottom - share(dot.y, this.up) * (bottom - top)];
  }

  paint() {
    palette.clear();
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    const scale = window.devicePixelRatio || 1;
    Object.assign(this.canvas, { width: width * scale, height: height * scale });
    this.box = { left: this.numbered ? 46 : 24, right: width - 8, top: 10, bottom: height - (this.numbered ? 40 : 24) };
    this.across = extent(this.dots.map((dot) => dot.x));
    this.up = extent(this.dots.map((dot) => dot.y));
    const context = this.canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    this.axes(context);
    for (const dot of this.dots) this.draw(context, dot, ...this.place(dot));
    if (this.chosen) this.ring(context, ...this.place(this.chosen));
  }

  axes(context) {
    const { left, right, top, bottom } = this.box;
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    context.lineWidth = 1;
    context.fillStyle = color("--muted");
    context.strokeStyle = color("--line");
    if (this.numbered) this.grid(context);
    context.strokeRect(left, top, right - left, bottom - top);
    context.textAlign = "center";
    context.fillText(this.labels[0], (left + right) / 2, bottom + (this.numbered ? 33 : 17));
    context.save();
    context.translate(12, (top + bottom) / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(this.labels[1], 0, 0);
    context.restore();
  }

  grid(context) {
    const { left, right, top, bottom } = this.box;
    const line = (...ends) => {
      context.beginPath();
      context.moveTo(ends[0], ends[1]);
      context.lineTo(ends[2], ends[3]);
      context.stroke();
    };
    for (const [value, text] of ticks(...this.across, 6)) {
      const x = this.place({ x: value, y: 0 })[0];
      line(x, top, x, bottom);
      context.textAlign = "center";
      context.fillText(text, x, bottom + 16);
    }
    for (const [value, text] of ticks(...this.up, 6)) {
      const y = this.place({ x: 0, y: value })[1];
      context.strokeStyle = color(value === 0 ? "--muted" : "--line");
      line(left, y, right, y);
      context.textAlign = "right";
      context.fillText(text, left - 6, y + 4);
    }
    context.strokeStyle = color("--line");
  }

  ring(context, x, y) {
    context.beginPath();
    context.arc(x, y, 9, 0, 2 * Math.PI);
    context.lineWidth = 3;
    context.strokeStyle = color("--ink");
    context.stroke();
  }

  click(event) {
    const near = this.dots.map((dot) => {
      const [x, y] = this.place(dot);
      return [Math.hypot(x - event.offsetX, y - event.offsetY) - (dot.bonus || 0), dot];
    });
    const best = near.reduce((a, b) => (b[0] < a[0] ? b : a), [18, null]);
    if (best[1]) this.choose(best[1]);
  }
}
