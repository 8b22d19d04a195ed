// What moves in a page: curves that can be hovered, the slider through grids, tables that can be sorted.
// No library and no network. What is shown as text goes through textContent, never through innerHTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const commas = (n) => n.toLocaleString("en-US");
  const shown = (value) =>
    value === null ? "none" : Number.isInteger(value) && Math.abs(value) < 1e15 ? commas(value) : String(+value.toPrecision(5));

  function make(tag, attributes, parent, text) {
    const space = ["svg", "path", "line", "text", "circle", "g"].includes(tag) ? "http://www.w3.org/2000/svg" : null;
    const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  }

  // Curves --------------------------------------------------------------------------------------------------------

  const LEFT = 50, RIGHT = 10, TOP = 8, BOTTOM = 22;
  const short = (n) => {  // 150000 as 150k
    for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(n) >= size) return `${+(n / size).toPrecision(4)}${letter}`;
    }
    return String(+n.toPrecision(4));
  };

  function steps(low, high, count) {  // round numbers between two ends
    const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= raw);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
    return found;
  }

  function powers(low, high) {  // 1, 2, 5, 10, ... between two ends of a logarithmic axis
    const found = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
      for (const k of [1, 2, 5]) if (k * 10 ** p >= low && k * 10 ** p <= high) found.push(k * 10 ** p);
    }
    return found.length > 7 ? found.filter((v) => Math.abs(Math.log10(v) % 1) < 1e-6) : found;
  }

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.plot = figure.querySelector(".plot");
      this.panel = data.panels[Number(figure.dataset.panel)];
      this.curves = this.panel.curves.map((curve, k) => ({ ...curve, x: data.axes[curve.x], style: `s${k % 8}` }));
      this.words = this.plot.getAttribute("aria-label");
      const values = this.curves.flatMap((curve) => curve.y.filter((y) => y !== null));
      this.ends = [Math.min(...this.curves.map((c) => c.x[0])), Math.max(...this.curves.map((c) => c.x[c.x.length - 1]))];
      this.positive = values.length > 0 && values.every((y) => y > 0);
      this.logarithmic = this.positive && this.panel.logarithmic;
      this.xs = [...new Set(this.curves.flatMap((curve) => curve.x))].sort((a, b) => a - b);
      if (this.positive && Math.max(...values) > 5 * Math.min(...values)) {
        const label = make("label", {}, figure.querySelector("figcaption"));
        this.box = make("input", { type: "checkbox" }, label);
        label.append("log");
        this.box.checked = this.logarithmic;
        this.box.addEventListener("change", () => { this.logarithmic = this.box.checked; this.draw(); });
      }
      const legend = figure.querySelector(".legend");
      for (const curve of this.curves) {
        const item = make("span", {}, legend);
        make("span", { class: `swatch ${curve.style}`, "aria-hidden": "true" }, item, "\u2501 ");
        item.append(curve.low ? `${curve.name}, with its 95 % interval` : curve.name);
      }
      for (const name of Object.keys(this.panel.limits)) {
        const item = make("span", {}, legend);
        make("span", { class: "swatch s6", "aria-hidden": "true" }, item, "\u2504 ");
        item.append(name);
      }
      this.tip = make("div", { class: "tip", hidden: "" }, figure);
      this.live = make("span", { class: "sr", "aria-live": "polite" }, figure);
      this.plot.addEventListener("pointermove", (event) => this.point(event));
      this.plot.addEventListener("pointerdown", (event) => this.point(event));
      this.plot.addEventListener("pointerleave", () => Chart.each((chart) => chart.leave()));
      this.plot.addEventListener("blur", () => Chart.each((chart) => chart.leave()));
      this.plot.addEventListener("click", () => player && this.at !== undefined && player.nearest(this.xs[this.at]));
      this.plot.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9 }[event.key];
        if (event.key === "Escape") Chart.each((chart) => chart.leave());
        if (!by) return;
        event.preventDefault();
        const from = this.at === undefined ? (by > 0 ? -1 : this.xs.length) : this.at;
        this.show(Math.max(0, Math.min(this.xs.length - 1, from + by)), true);
      });
      this.draw();
      new ResizeObserver(() => { if (this.plot.clientWidth && this.plot.clientWidth !== this.width) this.draw(); }).observe(this.plot);
    }

    static each(what) { charts.forEach(what); }

    draw() {
      this.width = this.plot.clientWidth || 330;
      this.height = this.width > 600 ? 300 : 190;
      this.plot.replaceChildren();
      this.svg = make("svg", { viewBox: `0 0 ${this.width} ${this.height}`, "aria-hidden": "true" }, this.plot);
      const inner = this.curves.flatMap((c) => [...c.y, ...(this.logarithmic ? [] : [...(c.low || []), ...(c.high || [])])]).filter((y) => y !== null);
      if (!inner.length) return void make("text", { x: LEFT, y: 30 }, this.svg, "no values");
      let low = Infinity, high = -Infinity;
      for (const y of [...inner, ...(this.logarithmic ? [] : Object.values(this.panel.limits))]) { low = Math.min(low, y); high = Math.max(high, y); }
      const map = this.logarithmic ? Math.log10 : (y) => y;
      if (!this.logarithmic && low >= 0 && low < high / 2) low = 0;
      const slack = (map(high) - map(low)) * 0.04 || Math.abs(map(high)) * 0.1 || 1;
      const bottom = low === 0 && !this.logarithmic ? 0 : map(low) - slack, top = map(high) + slack;
      const [first, last] = this.ends;
      this.X = (x) => LEFT + ((x - first) / (last - first || 1)) * (this.width - LEFT - RIGHT);
      this.Y = (y) => this.height - BOTTOM - ((map(y) - bottom) / (top - bottom)) * (this.height - TOP - BOTTOM);
      for (const y of this.logarithmic ? powers(10 ** bottom, 10 ** top) : steps(bottom, top, 4)) {
        make("line", { class: "grid-line", x1: LEFT, x2: this.width - RIGHT, y1: this.Y(y), y2: this.Y(y) }, this.svg);
        make("text", { x: LEFT - 6, y: this.Y(y) + 4, "text-anchor": "end" }, this.svg, short(y));
      }
      for (const x of steps(first, last, Math.max(2, Math.floor(this.width / 75)))) {
        make("text", { x: this.X(x), y: this.height - 5, "text-anchor": this.X(x) > this.width - 30 ? "end" : "middle" }, this.svg, short(x));
      }
      for (const limit of Object.values(this.panel.limits)) {
        if (!this.logarithmic || limit > 0) make("line", { class: "limit", x1: LEFT, x2: this.width - RIGHT, y1: this.Y(limit), y2: this.Y(limit) }, this.svg);
      }
      for (const curve of this.curves) {
        if (curve.low && curve.high) {
          const floor = this.logarithmic ? 10 ** bottom : -Infinity;  // an end below zero has no logarithm
          const held = curve.x.map((_, k) => k).filter((k) => curve.low[k] !== null && curve.high[k] !== null);
          const there = held.map((k) => `${this.X(curve.x[k])},${this.Y(Math.max(curve.high[k], floor))}`);
          const back = held.reverse().map((k) => `${this.X(curve.x[k])},${this.Y(Math.max(curve.low[k], floor))}`);
          if (there.length) make("path", { class: `band ${curve.style}`, d: `M${[...there, ...back].join("L")}Z` }, this.svg);
        }
        let path = "", gap = true;
        curve.y.forEach((y, k) => {
          if (y !== null) path += `${gap ? "M" : "L"}${this.X(curve.x[k]).toFixed(1)},${this.Y(y).toFixed(1)}`;
          gap = y === null;
        });
        make("path", { class: `curve ${curve.style}`, d: path || "M0,0" }, this.svg);
        if (curve.x.length <= 30) {
          curve.y.forEach((y, k) => y !== null && make("circle", { class: `dot ${curve.style}`, cx: this.X(curve.x[k]), cy: this.Y(y), r: 2.6 }, this.svg));
        }
      }
      this.moment = make("line", { class: "moment", y1: TOP, y2: this.height - BOTTOM, visibility: "hidden" }, this.svg);
      this.cursor = make("g", {}, this.svg);
      if (player) this.mark(player.images());
    }

    mark(images) {  // where the slider stands
      const within = this.moment && images >= this.ends[0] && images <= this.ends[1];
      if (!this.moment) return;
      this.moment.setAttribute("visibility", within ? "visible" : "hidden");
      if (within) { this.moment.setAttribute("x1", this.X(images)); this.moment.setAttribute("x2", this.X(images)); }
    }

    point(event) {
      if (!this.X) return;
      const box = this.plot.getBoundingClientRect();
      const x = this.ends[0] + (((event.clientX - box.left) * this.width) / box.width - LEFT) / (this.width - LEFT - RIGHT) * (this.ends[1] - this.ends[0]);
      this.show(closest(this.xs, x), false, (event.clientY - box.top) * (this.height / box.height));
    }

    show(at, spoken, pointer) {
      this.at = at;
      const images = this.xs[at];
      Chart.each((chart) => chart.line(images));
      let rows = this.curves.map((curve) => ({ curve, k: curve.x.indexOf(images) })).filter(({ curve, k }) => k >= 0 && curve.y[k] !== null);
      if (pointer !== undefined && rows.length > 10) {  // of many, those that the pointer is near to
        rows = rows.sort((a, b) => Math.abs(this.Y(a.curve.y[a.k]) - pointer) - Math.abs(this.Y(b.curve.y[b.k]) - pointer)).slice(0, 10);
      }
      this.tip.replaceChildren();
      make("div", { class: "at" }, this.tip, `image ${commas(images)}`);
      for (const { curve, k } of rows) {
        const line = make("div", {}, this.tip);
        make("span", { class: `swatch ${curve.style}` }, line, "\u25CF ");
        const ends = curve.low && curve.low[k] !== null ? ` [${shown(curve.low[k])}, ${shown(curve.high[k])}]` : "";
        line.append(`${curve.name} ${shown(curve.y[k])}${ends}`);
        make("circle", { class: `dot ${curve.style}`, cx: this.X(images), cy: this.Y(curve.y[k]), r: 4 }, this.cursor);
      }
      this.tip.hidden = false;
      const x = this.X(images) * (this.plot.clientWidth / this.width);
      const right = x > this.plot.clientWidth / 2;
      this.tip.style.left = right ? "" : `${x + 12}px`;
      this.tip.style.right = right ? `${this.plot.clientWidth - x + 12}px` : "";
      this.tip.style.top = `${this.plot.offsetTop + this.plot.clientHeight - 4}px`;  // below, where it hides no curve
      if (spoken) this.live.textContent = [...this.tip.children].map((line) => line.textContent.replace("\u25CF ", "")).join(", ");
    }

    line(images) {
      if (!this.cursor) return;
      this.cursor.replaceChildren();
      this.tip.hidden = true;
      if (images < this.ends[0] || images > this.ends[1]) return;
      make("line", { class: "cursor", x1: this.X(images), x2: this.X(images), y1: TOP, y2: this.height - BOTTOM }, this.cursor);
    }

    leave() {
      if (this.cursor) this.cursor.replaceChildren();
      this.tip.hidden = true;
      this.at = undefined;
    }
  }

  function closest(sorted, x) {
    let low = 0, high = sorted.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < x) low = middle; else high = middle;
    }
    return Math.abs(sorted[low] - x) <= Math.abs(sorted[high] - x) ? low : high;
  }

  // The slider through all grids ------------------------------------------------------------------------------------

  class Player {
    constructor(root) {
      this.moments = data.moments;  // [{images, words}]
      this.slider = root.querySelector("input");
      this.output = root.querySelector("output");
      this.button = root.querySelector(".play");
      this.views = all(".viewer figure[data-preview]").map((figure) => ({
        picture: figure.querySelector("img"),
        caption: figure.querySelector(".when"),
        frames: new Map(all(`.strip[data-preview="${figure.dataset.preview}"] button`).map((b) => [Number(b.dataset.images), b])),
      }));
      this.slider.addEventListener("input", () => { this.stop(); this.show(); });
      this.button.addEventListener("click", () => (this.timer ? this.stop() : this.play()));
      for (const button of all(".strip button")) {
        button.addEventListener("click", () => { this.stop(); this.nearest(Number(button.dataset.images)); });
      }
      for (const button of all("[data-go]", root)) {
        button.addEventListener("click", () => { this.stop(); this.nearest(Number(button.dataset.go)); });
      }
      document.addEventListener("keydown", (event) => {
        const elsewhere = event.target.closest("input, .plot, .strip, .wide, a, summary") || event.ctrlKey || event.altKey || event.metaKey;
        if (elsewhere || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
        event.preventDefault();
        this.stop();
        this.go(Number(this.slider.value) + (event.key === "ArrowRight" ? 1 : -1));
      });
    }

    images() { return this.moments[Number(this.slider.value)].images; }

    go(index) {
      this.slider.value = Math.max(0, Math.min(this.moments.length - 1, index));
      this.show();
    }

    nearest(images) { this.go(closest(this.moments.map((moment) => moment.images), images)); }

    show() {
      const { images, words } = this.moments[Number(this.slider.value)];
      for (const { picture, caption, frames } of this.views) {
        for (const [of, button] of frames) button.setAttribute("aria-current", String(of === images));
        const frame = frames.get(images);
        caption.textContent = frame ? `image ${commas(images)}` : `no grid of image ${commas(images)}`;
        if (!frame) continue;
        const thumbnail = frame.querySelector("img");
        picture.src = thumbnail.src;
        picture.alt = thumbnail.alt;
        picture.className = thumbnail.className;
        const strip = frame.parentElement;
        strip.scrollLeft = frame.offsetLeft - strip.offsetLeft - strip.clientWidth / 2 + frame.clientWidth / 2;
      }
      this.output.textContent = words;
      this.slider.setAttribute("aria-valuetext", words);
      charts.forEach((chart) => chart.mark(images));
    }

    play() {
      if (Number(this.slider.value) === this.moments.length - 1) this.go(0);
      this.button.textContent = "\u23F8 Pause";
      const pause = Math.max(120, Math.min(500, 8000 / this.moments.length));
      this.timer = setInterval(() => {
        if (Number(this.slider.value) === this.moments.length - 1) return this.stop();
        this.go(Number(this.slider.value) + 1);
      }, pause);
    }

    stop() {
      clearInterval(this.timer);
      this.timer = undefined;
      this.button.textContent = "\u25B6 Play";
    }
  }

  // Tables and cards in another order ---------------------------------------------------------------------------------

  function sortable(table) {
    const heads = all("thead th", table), body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = make("button", { type: "button" }, null, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const numeric = [...body.rows].every((row) => key(row) === "" || !Number.isNaN(Number(key(row))));
        const rows = [...body.rows].sort((a, b) => {
          const [x, y] = [key(a), key(b)];
          if (x === "" || y === "") return (x === "") - (y === "");  // what has no value comes last either way
          return (numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true })) * (down ? -1 : 1);
        });
        body.append(...rows);
        const cards = document.querySelector(".cards");
        if (cards) rows.forEach((row) => row.dataset.run && cards.append(document.getElementById(`card-${row.dataset.run}`)));
      });
    });
  }

  let player;
  const charts = [];
  all(".chart").forEach((figure) => charts.push(new Chart(figure)));
  const root = document.querySelector(".player");
  if (root) { player = new Player(root); root.hidden = false; all(".viewer").forEach((viewer) => (viewer.hidden = false)); player.show(); }
  all("table.sortable").forEach(sortable);
  addEventListener("beforeprint", () => all("details").forEach((part) => { part.open = true; }));
})();
