// SPDX-License-Identifier: MIT
// The page of `python -m apps.digit_demo --web`. It only listens; edge_runtime's recognizer runs in the
// program that serves it, and apps/digit_demo/web/feed.py says what the messages hold.
"use strict";

const $ = (id) => document.getElementById(id);

const SILENCE_S = 4; // without a message (the server sends one a second) the connection is given up
const RETRIES_S = [0.3, 0.7, 1.5, 3]; // the last one again and again
const STEPS = 500; // of the network in the spectrogram, half of them where it is narrow
const METER_FLOOR_DB = -60;
const LEVEL_FALL_DB_PER_S = 80;
const HOLD_S = 1.5; // of the greatest peak
const HOLD_DB_PER_S = 30; // then it falls
const BAR_FALL_S = 0.2; // a spike of one step is 20 ms: too short to be seen
const DIGITS = { zero: "0", oh: "oh", one: "1", two: "2", three: "3", four: "4", five: "5", six: "6", seven: "7", eight: "8", nine: "9" };
const NAMES = { unknown: "?" };
const DIGITS_SHOWN = 30; // of a string
const STOPS = [0, 1, 2, 3, 4].map((i) => `spectrum-${i}`); // colors of the spectrogram, defined in page.css
const SPECTRUM_SPAN = 90; // bytes between the first and the last color, at least: 0.1 nepers of energy each

const view = {
  facts: null,
  words: [], // all that are known
  peak: METER_FLOOR_DB, rms: METER_FLOOR_DB, shownLevel: METER_FLOOR_DB, hold: METER_FLOOR_DB, holdUntil: 0,
  posteriors: [], bars: [],
  begun: false, // the first sound has been drawn
  dirty: true,
};

// ---------------------------------------------------------------------------------------- connection

let socket = null;
let retry = 0;
let lastMessage = 0;

function connect() {
  socket = new WebSocket(`ws://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  lastMessage = performance.now();
  let fresh = true;
  socket.onmessage = ({ data, target }) => {
    if (target !== socket) return;
    lastMessage = performance.now();
    if (fresh) {
      fresh = false;
      retry = 0;
      forget();
    }
    if (typeof data === "string") apply(JSON.parse(data));
    else spectrogram.add(data);
    view.dirty = true;
  };
  socket.onclose = ({ target, code, reason }) => {
    if (target === socket) lose(code === 1013 ? reason : "connection lost");
  };
}

function lose(why) {
  socket = null;
  $("partial").textContent = "";
  view.posteriors = [];
  view.peak = view.rms = METER_FLOOR_DB;
  const wait = RETRIES_S[Math.min(retry++, RETRIES_S.length - 1)];
  showState("lost", `${why}, trying again`);
  setTimeout(connect, 1000 * wait);
}

// A program that is stopped or a cable that is out closes nothing.
setInterval(() => {
  if (socket && performance.now() - lastMessage > 1000 * SILENCE_S) {
    const silent = socket;
    lose("no answer");
    silent.close();
  }
}, 500);

// ------------------------------------------------------------------------------------------ messages

// Whoever answers after a break may be another run of the program: it tells all there is.
function forget() {
  view.words = [];
  view.begun = false;
  $("string").replaceChildren();
  $("strings").replaceChildren();
  spectrogram.clear();
}

function apply(message) {
  if (message.facts) applyFacts(message.facts);
  if (message.words) applyWords(message.words);
  if (message.status) applyStatus(message.status);
  if (message.posteriors) view.posteriors = message.posteriors;
  if (message.level) {
    view.peak = message.level.peak_db;
    view.rms = message.level.rms_db;
    if (view.peak >= view.hold) {
      view.hold = view.peak;
      view.holdUntil = performance.now() + 1000 * HOLD_S;
    }
  }
}

function applyFacts(facts) {
  view.facts = facts;
  $("device").textContent = `${facts.device}, ${facts.sample_rate / 1000} kHz`;
  $("model").textContent = `${facts.model}, kernel ${facts.kernel}`;
  $("threshold-text").textContent = `threshold ${facts.threshold.toFixed(2)}`;
  $("threshold").firstElementChild.style.bottom = `${100 * facts.threshold}%`;
  document.querySelectorAll(".bar").forEach((bar) => bar.remove());
  view.bars = facts.labels.map((label, index) => {
    const bar = document.createElement("div");
    bar.className = label in DIGITS ? "bar" : "bar other";
    bar.setAttribute("role", "meter");
    bar.title = label;
    bar.setAttribute("aria-label", label);
    bar.setAttribute("aria-valuemin", 0);
    bar.setAttribute("aria-valuemax", 1);
    const fill = document.createElement("i");
    const name = document.createElement("span");
    name.textContent = DIGITS[label] ?? NAMES[label] ?? label;
    bar.append(fill, name);
    if (index !== facts.blank) $("bars").append(bar);
    return { bar, fill, shown: 0 };
  });
}

function applyWords(words) {
  for (const word of words) {
    beginString(word.string);
    view.words.push(word);
    const digit = document.createElement("span");
    digit.className = words.length === 1 ? "digit new" : "digit";
    digit.title = `${word.label}, ${word.start_s.toFixed(2)} to ${word.end_s.toFixed(2)} s`;
    digit.append(word.text);
    const confidence = document.createElement("small");
    confidence.setAttribute("aria-hidden", "true");
    confidence.textContent = word.confidence.toFixed(2);
    confidence.style.setProperty("--confidence", `${100 * word.confidence}%`);
    digit.append(confidence);
    $("string").append(digit);
  }
  if (view.words.length > 1000) view.words.splice(0, 500);
  while ($("string").childElementCount > DIGITS_SHOWN) $("string").firstElementChild.remove();
  $("string-row").classList.toggle("long", $("string").childElementCount > 8);
  document.title = `${text($("string"))} – digits`;
}

// The string so far goes up when the first word of the next one is in progress.
function beginString(number) {
  if (!$("string").childElementCount || view.words.at(-1).string === number) return;
  const item = document.createElement("li");
  item.textContent = text($("string"));
  $("strings").append(item);
  while ($("strings").childElementCount > 1 && $("strings").scrollWidth > $("strings").clientWidth) {
    $("strings").firstElementChild.remove();
  }
  $("string").replaceChildren();
}

function text(string) {
  const words = [...string.children].map((word) => word.firstChild.data);
  return words.join(words.some((word) => word.length > 1) ? " " : "");
}

function applyStatus(status) {
  $("latency").textContent = status.latency_ms == null ? "–" : `${status.latency_ms} ms`;
  $("cpu").textContent = status.cpu_percent == null ? "–" : `${status.cpu_percent.toFixed(1)} %${status.is_idle ? ", resting" : ""}`;
  $("drops").textContent = status.dropped_samples ? `${status.dropped_samples} samples` : "none";
  $("heard").textContent = duration(status.heard_s ?? 0);
  if ($("note").textContent !== status.note) $("note").textContent = status.note;
  if (status.partial) beginString(status.partial.string);
  $("partial").textContent = status.partial?.text ?? "";
  $("hint").hidden = view.words.length > 0 || Boolean(status.partial);
  showState(status.state, { starting: "starting", listening: "listening", waiting: "no audio", ended: "ended" }[status.state]);
}

function duration(seconds) {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  return parts.slice(parts[0] ? 0 : 1).map((part) => String(part).padStart(2, "0")).join(":");
}

function showState(state, words) {
  if (document.body.dataset.state !== state) document.body.dataset.state = state;
  if ($("state-text").textContent !== words) $("state-text").textContent = words;
  view.dirty = true;
}

// --------------------------------------------------------------------------------------- spectrogram

// Steps are columns of bytes in a ring, painted into a canvas as wide as the ring and as high as there are filters;
// drawing stretches that over the visible one.
const spectrogram = {
  canvas: $("spectrogram"),
  ring: document.createElement("canvas"),
  filters: 0,
  bytes: null,
  end: 0, // number of the step after the last
  low: 0, high: 255, // bytes that get the first and the last color
  colors: new Uint32Array(256),
  palette: {},

  clear() {
    this.end = 0;
    this.bytes?.fill(0);
    if (this.bytes) this.paintAll();
  },

  add(buffer) {
    const header = new DataView(buffer);
    const first = header.getUint32(0, true);
    const filters = header.getUint32(4, true);
    const bytes = new Uint8Array(buffer, 8);
    if (filters !== this.filters) this.setFilters(filters);
    // What was skipped while the page lagged stays empty.
    for (let step = Math.max(this.end, first - STEPS); step < first; step++) this.step(step).fill(0);
    for (let i = 0; i * filters < bytes.length; i++) {
      this.step(first + i).set(bytes.subarray(i * filters, (i + 1) * filters));
    }
    const painted = this.end;
    this.end = first + bytes.length / filters;
    for (let step = Math.max(painted, this.end - STEPS); step < this.end; step++) this.paint(step);
    this.show();
  },

  setFilters(filters) {
    this.filters = filters;
    this.bytes = new Uint8Array(STEPS * filters);
    this.ring.width = STEPS;
    this.ring.height = filters;
    this.image = new ImageData(STEPS, filters);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.paintAll();
  },

  step(number) {
    const start = (number % STEPS) * this.filters;
    return this.bytes.subarray(start, start + this.filters);
  },

  paint(number) {
    const column = number % STEPS;
    this.step(number).forEach((byte, filter) => {
      this.pixels[(this.filters - 1 - filter) * STEPS + column] = this.colors[byte];
    });
  },

  show() {
    this.ring.getContext("2d").putImageData(this.image, 0, 0);
  },

  paintAll() {
    for (let step = 0; step < STEPS; step++) this.paint(step);
    this.show();
  },

  // Colors of the bytes: the quiet quarter of what is seen gets the first one, its peaks the last.
  setColors() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["ink", "accent", ...STOPS]) this.palette[name] = style.getPropertyValue(`--${name}`).trim();
    const stops = STOPS.map((name) => rgb(this.palette[name]));
    for (let byte = 0; byte < 256; byte++) {
      const x = Math.min(Math.max((byte - this.low) / (this.high - this.low), 0), 1) * (stops.length - 1);
      const i = Math.min(Math.floor(x), stops.length - 2);
      const [r, g, b] = stops[i].map((from, k) => Math.round(from + (stops[i + 1][k] - from) * (x - i)));
      this.colors[byte] = (255 << 24) | (b << 16) | (g << 8) | r; // little-endian, as every browser's machine is
    }
    if (this.bytes) this.paintAll();
  },

  fitContrast() {
    if (!this.end) return;
    const counts = new Uint32Array(256);
    this.bytes.forEach((byte) => counts[byte]++);
    counts[0] = 0; // nothing heard yet
    const total = counts.reduce((sum, count) => sum + count, 0);
    const percentile = (share) => {
      let sum = 0;
      return counts.findIndex((count) => (sum += count) >= share * total);
    };
    const low = percentile(0.25);
    const high = Math.max(percentile(0.998), low + SPECTRUM_SPAN);
    const change = Math.max(Math.abs(low - this.low), Math.abs(high - this.high));
    if (change <= 3) return;
    const share = change > 40 ? 1 : 0.5;
    this.low += share * (low - this.low);
    this.high += share * (high - this.high);
    this.setColors();
  },

  draw() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.fillStyle = this.palette[STOPS[0]];
    pen.fillRect(0, 0, width, height);
    if (!this.filters) return;
    const steps = canvas.clientWidth < 600 ? STEPS / 2 : STEPS;
    const margin = 2 * ratio; // smoothing mixes the edges of the picture with the other side of the seam
    const at = (step) => width + margin - ((this.end - step) / steps) * (width + 2 * margin);
    // The ring from the newest step backwards, in the two parts that its seam makes of it.
    for (let stop = this.end; stop > this.end - steps; ) {
      const start = Math.max(Math.floor((stop - 1) / STEPS) * STEPS, this.end - steps);
      const left = ((start % STEPS) + STEPS) % STEPS;
      pen.drawImage(this.ring, left, 0, stop - start, this.filters, at(start), 0, at(stop) - at(start), height);
      stop = start;
    }
    this.drawWords(pen, at, height, ratio);
  },

  drawWords(pen, at, height, ratio) {
    const size = 15 * ratio;
    pen.font = `600 ${size}px system-ui, sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineJoin = "round";
    pen.lineWidth = 5 * ratio;
    pen.strokeStyle = this.palette[STOPS[0]];
    for (const word of view.words.slice(-40)) {
      const [left, right] = [at(word.start_step), at(word.end_step)];
      if (right < 0) continue;
      pen.fillStyle = this.palette.accent;
      pen.fillRect(left + ratio, height - 3 * ratio, right - left - 2 * ratio, 3 * ratio);
      pen.fillStyle = this.palette.ink;
      pen.strokeText(word.text, (left + right) / 2, height - 1.2 * size);
      pen.fillText(word.text, (left + right) / 2, height - 1.2 * size);
    }
  },
};

// Of "#rrggbb".
const rgb = (color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));

// ---------------------------------------------------------------------------------------------- draw

const FRAME_S = 1 / 40; // at least: there are 25 messages a second
let drawn = performance.now();

function draw(now) {
  requestAnimationFrame(draw);
  if (now - drawn < 1000 * FRAME_S) return;
  const passed_s = Math.min((now - drawn) / 1000, 0.25);
  const moving = view.hold > METER_FLOOR_DB || view.bars.some(({ shown }) => shown > 0.002);
  if (!view.dirty && !moving) return;
  drawn = now;
  drawMeter(now, passed_s);
  drawBars(passed_s);
  if (view.dirty) {
    if (!view.begun) refresh();
    view.begun = spectrogram.end > 0;
    spectrogram.draw();
  }
  view.dirty = false;
}

function drawMeter(now, passed_s) {
  if (now > view.holdUntil) view.hold = Math.max(view.peak, view.hold - HOLD_DB_PER_S * passed_s, METER_FLOOR_DB);
  view.shownLevel = Math.max(view.rms, view.shownLevel - LEVEL_FALL_DB_PER_S * passed_s);
  const share = (level_db) => Math.min(Math.max(1 - level_db / METER_FLOOR_DB, 0), 1);
  $("meter-fill").style.clipPath = `inset(0 ${100 * (1 - share(view.shownLevel))}% 0 0)`;
  $("meter-hold").style.transform = `translateX(${-100 * (1 - share(view.hold))}%)`;
}

function drawBars(passed_s) {
  const fall = Math.exp(-passed_s / BAR_FALL_S);
  view.bars.forEach((bar, index) => {
    const shown = Math.max(view.posteriors[index] ?? 0, bar.shown * fall);
    if (Math.abs(shown - bar.shown) < 0.001) return;
    bar.shown = shown;
    bar.fill.style.transform = `scaleY(${shown.toFixed(3)})`;
    bar.bar.classList.toggle("over", shown >= view.facts.threshold);
  });
}

const decibels = (level) => (level <= -99 ? "−∞" : String(Math.round(level)).replace("-", "−"));

// What need not be quick: numbers to read, contrast.
function refresh() {
  $("level").textContent = `${decibels(view.shownLevel)} dBFS`;
  $("peak").textContent = view.hold > METER_FLOOR_DB ? `peak ${decibels(view.hold)}` : "";
  $("meter").setAttribute("aria-valuenow", Math.round(Math.max(view.shownLevel, METER_FLOOR_DB)));
  view.bars.forEach(({ bar }, index) => bar.setAttribute("aria-valuenow", view.posteriors[index] ?? 0));
  spectrogram.fitContrast();
}
setInterval(refresh, 400);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  spectrogram.setColors();
  view.dirty = true;
});
addEventListener("resize", () => { view.dirty = true; });

spectrogram.setColors();
connect();
requestAnimationFrame(draw);
