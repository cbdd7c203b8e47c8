import { addPeaks, bestOf, colourOf, colourOfRow, draw, spansOf, spoken, timeAt } from "./drawing.js";

const SHOWN = ["arousal", "valence"];
const LATE_SECONDS = 3;
const SILENT_MS = 60000;  // without an answer, after which the page waits no longer
const get = (id) => document.getElementById(id);
const state = {
  about: { categories: [], dimensions: [], limits: {} },
  rows: [], peaks: [], seconds: 0, moment: null, recording: null, url: null, request: 0,
};

function say(text) { get("status").textContent = text; }

function fail(text) {
  get("error").textContent = text;
  if (text) say("");
}

function dimensions() {
  const own = state.about.dimensions;
  const kept = SHOWN.filter((name) => own.includes(name));
  return kept.length ? kept : own;
}

function redraw() {
  if (get("results").hidden) return;
  draw(get("chart"), {
    rows: state.rows, peaks: state.peaks, seconds: state.seconds, moment: state.moment,
    names: state.about.categories, dimensions: dimensions(),
  });
}

let planned = false;
function planDrawing() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => { planned = false; redraw(); });
}

function swatch(colour, dashed) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 12");
  svg.setAttribute("aria-hidden", "true");
  const shape = document.createElementNS("http://www.w3.org/2000/svg", dashed === null ? "rect" : "line");
  const settings = dashed === null
    ? { width: 16, height: 12, fill: colour, stroke: "currentColor", "stroke-opacity": 0.4 }
    : { x1: 0, x2: 16, y1: 6, y2: 6, stroke: colour, "stroke-width": 3, "stroke-dasharray": dashed };
  for (const [name, value] of Object.entries(settings)) shape.setAttribute(name, value);
  svg.append(shape);
  return svg;
}

function showLegend() {
  const style = getComputedStyle(document.documentElement);
  const seen = state.about.categories.filter((name) => state.rows.some(
    (row) => colourOfRow(row, state.about.categories) === colourOf(name, state.about.categories)));
  const quiet = state.rows.some((row) => !spoken(row));
  const items = [
    ...seen.map((name) => [name, swatch(colourOf(name, state.about.categories), null)]),
    ...dimensions().map((name) => [
      `${name}, 0 to 1`,
      swatch(style.getPropertyValue(`--${name}`).trim() || "currentColor", name === "valence" ? "5 3" : "0"),
    ]),
    ...(quiet ? [["no speech found", swatch(style.getPropertyValue("--quiet").trim(), null)]] : []),
  ];
  get("legend").replaceChildren(...items.map(([text, mark]) => {
    const item = document.createElement("li");
    item.append(mark, text);
    return item;
  }));
}

function cells(kind, values) {
  const line = document.createElement("tr");
  for (const value of values) {
    const cell = document.createElement(kind);
    if (kind === "th") cell.scope = "col";
    cell.textContent = value;
    line.append(cell);
  }
  return line;
}

function valuesOf(row) {
  const top = Math.max(0, ...Object.values(row.scores || {}));
  const scores = dimensions().map((name) => {
    const value = row.dimensions && row.dimensions[name];
    return value === undefined ? "" : value.toFixed(2);
  });
  return [row.start.toFixed(2), row.end.toFixed(2), bestOf(row), top ? top.toFixed(2) : "", ...scores];
}

function addRows(rows) {
  state.rows.push(...rows);
  get("table").tBodies[0].append(...rows.map((row) => cells("td", valuesOf(row))));
  showLegend();
  planDrawing();
}

function summarize() {
  const scored = state.rows.filter((row) => Object.keys(row.scores || {}).length);
  const sums = {};
  for (const row of scored) {
    for (const [name, value] of Object.entries(row.scores)) sums[name] = (sums[name] || 0) + value;
  }
  const best = Object.entries(sums).sort((a, b) => b[1] - a[1]).slice(0, 3)
    .map(([name, value]) => `${name} ${(value / scored.length).toFixed(2)}`);
  const means = dimensions().map((name) => {
    const values = state.rows.map((row) => (row.dimensions || {})[name]).filter((v) => v !== undefined);
    return values.length ? `${name} ${(values.reduce((a, b) => a + b, 0) / values.length).toFixed(2)}` : "";
  });
  const silent = state.rows.filter((row) => row.status === "no_speech").length;
  const warning = silent ? [`no speech was found in ${silent} of ${state.rows.length} windows`] : [];
  const parts = [...best, ...means.filter(Boolean), ...warning];
  get("summary").textContent = parts.length
    ? `${state.seconds.toFixed(1)} s; mean over the windows: ${parts.join(", ")}.`
    : `${state.seconds.toFixed(1)} s; nothing was scored.`;
}

function start() {
  fail("");
  Object.assign(state, { rows: [], peaks: [], seconds: 0, moment: null });
  if (state.url) URL.revokeObjectURL(state.url);
  state.url = null;
  get("player").hidden = true;
  get("player").removeAttribute("src");
  get("moment").textContent = get("summary").textContent = "";
  const heads = ["start", "end", "emotion", "score", ...dimensions()];
  get("table").tHead.replaceChildren(cells("th", heads));
  get("table").tBodies[0].replaceChildren();
  get("results").hidden = false;
  showLegend();
  planDrawing();
}

function play(blob) {
  state.url = URL.createObjectURL(blob);
  get("player").src = state.url;
  get("player").hidden = false;
}

async function decoded(blob) {
  const context = new OfflineAudioContext(1, 1, 16000);
  const audio = await context.decodeAudioData(await blob.arrayBuffer());
  return audio.getChannelData(0);
}

async function takeFile(file) {
  if (state.recording) await stopRecording();
  const request = ++state.request;
  const most = state.about.limits.upload_mb;
  if (most && file.size > most * 1e6) {
    fail(`The file is larger than ${most} MB: compress it, or cut it.`);
    return;
  }
  start();
  say(`Sending ${file.name}…`);
  const samples = await decoded(file).catch(() => null);
  const query = new URLSearchParams({ name: file.name, window: get("window").value, hop: hop() });
  try {
    const answer = await fetch(`/predict?${query}`, { method: "POST", body: file });
    const found = await answer.json();
    if (request !== state.request) return;
    if (!answer.ok) { fail(found.error); return; }
    const rows = found.filter((row) => !row.error);
    if (samples) addPeaks(state.peaks, samples, 16000);
    state.seconds = Math.max(samples ? samples.length / 16000 : 0, ...found.map((row) => row.end));
    play(file);
    addRows(rows);
    summarize();
    if (rows.length) say(`${file.name}: ${rows.length} windows.`);
    else fail(found[0].error);
    get("results").focus({ preventScroll: true });
  } catch {
    if (request === state.request) fail("The service did not answer: check that it runs, and send the file again.");
  }
}

function hop() {
  return String(Math.min(Number(get("hop").value), Number(get("window").value)));
}

// A button that is `disabled` would lose the focus of the keyboard.
function setBusy(busy) {
  get("record").setAttribute("aria-disabled", String(busy));
}

async function startRecording() {
  const button = get("record");
  setBusy(true);
  const parts = {};
  try {
    if (!navigator.mediaDevices) throw new Error("insecure");
    parts.media = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
    parts.context = new AudioContext();
    await parts.context.audioWorklet.addModule("/capture.js");
    const rate = Math.round(parts.context.sampleRate);
    const query = new URLSearchParams({ sample_rate: rate, encoding: "f32", window: get("window").value, hop: hop() });
    parts.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/stream?${query}`);
    await new Promise((resolve, reject) => {
      parts.socket.onopen = resolve;
      parts.socket.onerror = () => reject(new Error("service"));
    });
    ++state.request;
    start();
    record(parts, rate);
    button.textContent = "Stop";
    button.setAttribute("aria-pressed", "true");
    say("Recording: answers appear as you speak.");
  } catch (error) {
    close(parts);
    const texts = {
      insecure: "The browser gives the microphone to https and localhost only: choose a file.",
      service: "The service takes no stream now: try again later.",
      NotAllowedError: "The microphone is not allowed: allow it in the browser, or choose a file.",
      NotFoundError: "There is no microphone: choose a file.",
    };
    fail(texts[error.message] || texts[error.name] || "The microphone cannot be used: choose a file.");
  } finally {
    setBusy(false);
  }
}

function record(parts, rate) {
  parts.node = new AudioWorkletNode(parts.context, "capture");
  parts.context.createMediaStreamSource(parts.media).connect(parts.node);
  parts.recorder = new MediaRecorder(parts.media);
  const pieces = [];
  parts.recorder.ondataavailable = (event) => pieces.push(event.data);
  parts.recorder.onstop = () => play(new Blob(pieces, { type: parts.recorder.mimeType }));
  parts.recorder.start();
  let ended = false;
  parts.node.port.onmessage = ({ data }) => {
    if (ended) return;  // samples after "finish" are not part of the recording
    ended = data.last;
    if (parts.socket.readyState === WebSocket.OPEN && data.samples.length) {
      parts.socket.send(data.samples.buffer);
    }
    if (data.last && parts.socket.readyState === WebSocket.OPEN) parts.socket.send("finish");
    addPeaks(state.peaks, data.samples, rate);
    state.seconds += data.samples.length / rate;
    planDrawing();
  };
  parts.socket.onmessage = (event) => {
    parts.answered = Date.now();
    const row = JSON.parse(event.data);
    if (row.error) fail(row.error);
    else {
      addRows([row]);
      const late = state.seconds - row.end;
      const slow = late > LATE_SECONDS ? `answers come ${late.toFixed(0)} s late` : "answers appear as you speak";
      if (parts.recorder.state !== "inactive") say(`Recording: ${slow}.`);
    }
  };
  parts.socket.onclose = () => {
    if (state.recording === parts) endRecording();
    summarize();
  };
  state.recording = parts;
}

function close(parts) {
  if (parts.media) for (const track of parts.media.getTracks()) track.stop();
  if (parts.context) parts.context.close();
  if (parts.socket) parts.socket.close();
}

function endRecording() {
  const parts = state.recording;
  state.recording = null;
  if (parts.recorder.state !== "inactive") parts.recorder.stop();
  close(parts);
  get("record").textContent = "Record";
  get("record").setAttribute("aria-pressed", "false");
  const answered = state.rows.length ? state.rows[state.rows.length - 1].end : 0;
  if (state.seconds - answered > 1 && !get("error").textContent) {
    fail(`The service was too slow: only the first ${answered.toFixed(1)} s were answered.`);
  }
  if (!get("error").textContent) say(`Recorded ${state.seconds.toFixed(1)} s.`);
}

async function stopRecording() {
  const parts = state.recording;
  setBusy(true);
  say("Waiting for the last answers…");
  parts.recorder.stop();
  parts.node.port.postMessage("last");
  parts.answered = Date.now();
  while (state.recording === parts) {  // until the service closes the stream, or is silent
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (Date.now() - parts.answered > SILENT_MS) endRecording();
  }
  setBusy(false);
}

function showMoment(time) {
  state.moment = Math.min(state.seconds, Math.max(0, time));
  const span = spansOf(state.rows, state.seconds).find((one) => state.moment <= one.to);
  if (span) {
    const [from, to, emotion, score, ...values] = valuesOf(span.row);
    const named = dimensions().map((name, i) => `${name} ${values[i]}`);
    const quiet = spoken(span.row) ? [] : ["no speech found"];
    get("moment").textContent = [`${from} to ${to} s: ${emotion} ${score}`, ...named, ...quiet].join(", ");
  }
  planDrawing();
}

get("record").addEventListener("click", () => {
  if (get("record").getAttribute("aria-disabled") === "true") return;
  if (state.recording) stopRecording();
  else startRecording();
});
get("file").addEventListener("change", (event) => {
  if (event.target.files.length) takeFile(event.target.files[0]);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  get("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    get("drop").classList.toggle("over", kind === "dragover");
    if (kind !== "drop" || !event.dataTransfer.files.length) return;
    if (event.dataTransfer.files.length > 1) fail("These are several files: drop one at a time.");
    else takeFile(event.dataTransfer.files[0]);
  });
}
get("chart").addEventListener("click", (event) => {
  const time = timeAt(get("chart"), event.offsetX, state.seconds);
  if (!get("player").hidden) get("player").currentTime = time;
  showMoment(time);
});
get("chart").addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  showMoment((state.moment || 0) + steps[event.key] * Number(hop()));
});
get("player").addEventListener("timeupdate", () => {
  if (!get("player").hidden && get("player").currentTime) showMoment(get("player").currentTime);
});
get("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(state.rows, null, 1)], { type: "application/json" }));
  link.download = "emotions.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
window.addEventListener("resize", planDrawing);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showLegend(); planDrawing(); });
fetch("/model").then((answer) => answer.json()).then((about) => {
  state.about = about;
  get("model").textContent = about.model;
}).catch(() => fail("The service did not answer: check that it runs, and open the page again."));
