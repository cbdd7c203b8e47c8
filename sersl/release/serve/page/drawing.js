// Draws the waveform, the emotion of each window, and arousal and valence over time.

const COLOURS = {
  angry: "#c9372c", happy: "#e2a400", sad: "#3b6fb6", neutral: "#8a939b", fear: "#7a4fb0",
  disgust: "#4f8a3a", surprise: "#dd6b20", contempt: "#a0526a", calm: "#2f9e9e",
  boredom: "#9b8262", excited: "#e0559b", frustrated: "#8f2d56", other: "#5b6770",
};
const SPARE = ["#14867a", "#b0741a", "#5d61c9", "#a83c8a", "#6b8e23", "#356d8c"];
const LINES = { arousal: [], valence: [6, 4], dominance: [2, 3] };
const LEFT = 34;
const RIGHT = 8;

export function colourOf(name, names) {
  if (name in COLOURS) return COLOURS[name];
  return SPARE[Math.max(0, names.indexOf(name)) % SPARE.length];
}

export function bestOf(row) {
  return Array.isArray(row.category) ? row.category.join(", ") : row.category || row.status;
}

export function colourOfRow(row, names) {
  const scores = Object.entries(row.scores || {});
  if (!scores.length) return "transparent";
  return colourOf(scores.reduce((a, b) => (b[1] > a[1] ? b : a))[0], names);
}

const PEAK_SECONDS = 0.002;  // that one kept peak stands for: a recording is drawn again and again

// The largest magnitude in each stretch of PEAK_SECONDS of samples, appended to `peaks`.
export function addPeaks(peaks, samples, rate) {
  const size = Math.max(1, Math.round(PEAK_SECONDS * rate));
  for (let start = 0; start < samples.length; start += size) {
    let peak = 0;
    const end = Math.min(samples.length, start + size);
    for (let i = start; i < end; i++) peak = Math.max(peak, Math.abs(samples[i]));
    peaks.push(peak);
  }
}

// The largest of each of `count` parts of the peaks.
function partsOf(peaks, count) {
  const parts = new Float32Array(count);
  if (peaks.length < count) return parts.map((_, i) => peaks[Math.floor((i * peaks.length) / count)]);
  peaks.forEach((peak, i) => {
    const part = Math.floor((i * count) / peaks.length);
    if (peak > parts[part]) parts[part] = peak;
  });
  return parts;
}

// Each window stands for the hop around its middle; the first and last reach to theirs.
export function spansOf(rows, seconds) {
  const middles = rows.map((row) => (row.start + row.end) / 2);
  return rows.map((row, i) => ({
    from: i ? (middles[i - 1] + middles[i]) / 2 : 0,
    to: i + 1 < rows.length ? (middles[i] + middles[i + 1]) / 2 : Math.min(seconds, rows[i].end),
    middle: middles[i],
    row,
  }));
}

export function timeAt(canvas, x, seconds) {
  const width = canvas.clientWidth - LEFT - RIGHT;
  return Math.min(seconds, Math.max(0, ((x - LEFT) / width) * seconds));
}

export function draw(canvas, { rows, peaks, seconds, names, dimensions, moment }) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const paint = canvas.getContext("2d");
  paint.scale(scale, scale);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  paint.font = "12px system-ui, sans-serif";
  const plot = width - LEFT - RIGHT;
  const x = (time) => LEFT + (seconds ? (time / seconds) * plot : 0);
  const bottom = height - 20;
  const waveBottom = dimensions.length ? bottom * 0.45 : bottom * 0.8;
  const bandTop = waveBottom + 6;
  const bandBottom = bandTop + 26;
  const lineTop = bandBottom + 14;

  const spans = spansOf(rows, seconds);
  paint.fillStyle = colour("quiet");
  for (const span of spans) {
    if (spoken(span.row)) continue;
    paint.fillRect(x(span.from), 0, x(span.to) - x(span.from), bottom);
  }

  const middle = waveBottom / 2;
  paint.fillStyle = colour("wave");
  if (peaks.length) {
    const parts = partsOf(peaks, Math.max(1, Math.round(plot)));
    const largest = Math.max(0.05, parts.reduce((a, b) => Math.max(a, b), 0));
    parts.forEach((peak, i) => {
      const half = Math.max(0.5, (peak / largest) * (middle - 6));
      paint.fillRect(LEFT + i, middle - half, 1, 2 * half);
    });
  } else {
    paint.fillText("The browser cannot draw this format.", LEFT, middle);
  }

  paint.textBaseline = "middle";
  for (const run of runsOf(spans, names)) {
    const left = x(run.from);
    const right = x(run.to);
    paint.globalAlpha = run.spoken ? 1 : 0.3;
    paint.fillStyle = run.colour;
    paint.fillRect(left, bandTop, Math.max(1, right - left - 1), bandBottom - bandTop);
    paint.globalAlpha = 1;
    paint.textAlign = "center";
    paint.fillStyle = run.spoken ? inkOn(run.colour) : colour("text");
    if (paint.measureText(run.name).width + 8 < right - left) {
      paint.fillText(run.name, (left + right) / 2, (bandTop + bandBottom) / 2 + 1);
    }
  }

  paint.fillStyle = colour("faint");
  paint.strokeStyle = colour("line");
  paint.lineWidth = 1;
  paint.textAlign = "right";
  if (dimensions.length) {
    for (const value of [0, 0.5, 1]) {
      const y = bottom - value * (bottom - lineTop);
      paint.beginPath();
      paint.moveTo(LEFT, y);
      paint.lineTo(width - RIGHT, y);
      paint.stroke();
      paint.fillText(String(value), LEFT - 6, y);
    }
  }
  paint.textAlign = "center";
  const step = [0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300].find((s) => (seconds / s) * 44 < plot) || 600;
  for (let time = 0; time <= seconds + 1e-6; time += step) {
    paint.fillText(`${+time.toFixed(1)} s`, Math.min(x(time), width - 16), height - 9);
  }
  for (const name of dimensions) {
    paint.strokeStyle = colour(name === "dominance" ? "faint" : name);
    paint.lineWidth = 2;
    paint.setLineDash(LINES[name] || [1, 2]);
    paint.beginPath();
    let started = false;
    for (const span of spans) {
      const value = span.row.dimensions && span.row.dimensions[name];
      if (value === undefined) { started = false; continue; }
      const y = bottom - Math.min(1, Math.max(0, value)) * (bottom - lineTop);
      if (started) paint.lineTo(x(span.middle), y);
      else { paint.moveTo(x(span.middle), y); paint.lineTo(x(span.middle) + 0.1, y); }
      started = true;
    }
    paint.stroke();
  }
  paint.setLineDash([]);
  if (moment !== null) {
    paint.strokeStyle = colour("text");
    paint.lineWidth = 1;
    paint.beginPath();
    paint.moveTo(x(moment), 0);
    paint.lineTo(x(moment), bottom);
    paint.stroke();
  }
  paint.textAlign = "left";
}

export function spoken(row) {
  return row.status === "ok";
}

// Neighbours of the same emotion are drawn as one.
function runsOf(spans, names) {
  const runs = [];
  for (const span of spans) {
    const name = bestOf(span.row);
    const last = runs[runs.length - 1];
    if (last && last.name === name && last.spoken === spoken(span.row)) last.to = span.to;
    else runs.push({ ...span, name, spoken: spoken(span.row), colour: colourOfRow(span.row, names) });
  }
  return runs;
}

// Black or white, whichever has more contrast (WCAG 2, relative luminance).
function inkOn(colour) {
  if (colour[0] !== "#") return "#000";
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}
