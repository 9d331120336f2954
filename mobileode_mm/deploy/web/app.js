// The page: it opens images, gives them to the network, and shows what was found.
import * as ort from './runtime/ort.wasm.bundle.min.mjs';
import {prepare, result} from './prepare.js';

// More than one thread needs headers that plain servers do not send.
ort.env.wasm.numThreads = 1;

const MOST_PIXELS = 2 ** 24;  // of a canvas on phones
const VIEW = 1200;  // pixels of the longer side of what is shown
const RUNS = 20, MOST_TIME = 1500;  // to time an image by, and in milliseconds
const element = id => document.getElementById(id);
const [view, status] = [element('view'), element('status')];
const canvas = document.createElement('canvas');  // that pixels are read from

let network, session;
let shown;  // the image and what was found in it
let turn = 0;  // rises with each new image, so that work on an earlier one ends
let last = Promise.resolve();  // the session takes one image at a time

function say(text, isError = false) {
  status.textContent = text;
  status.classList.toggle('error', isError);
}

async function fetched(address, settings) {
  const answer = await fetch(address, settings).catch(() => null), [name] = address.split('?');
  if (!answer) throw new Error(`${name} cannot be fetched; does the server still run?`);
  if (!answer.ok) throw new Error(`${name} cannot be fetched (status ${answer.status}); is the folder whole?`);
  return answer;
}

/** Pixels (RGB) of something that can be drawn; of a very large image, of a smaller copy. */
function read(source, width, height) {
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  const data = new Uint8Array(pixels.length / 4 * 3);
  for (let from = 0, to = 0; from < pixels.length; from += 4) {
    data[to++] = pixels[from];
    data[to++] = pixels[from + 1];
    data[to++] = pixels[from + 2];
  }
  return {data, height: canvas.height, width: canvas.width};
}

/** Run the network: what was found, and the milliseconds of the preparation and of the network. */
function run(image) {
  return last = last.catch(() => {}).then(async () => {
    const start = performance.now();
    const {image: prepared, used} = prepare(image, network.prepare);
    const tensor = new ort.Tensor('uint8', prepared.data, [1, prepared.height, prepared.width, 3]);
    const middle = performance.now();
    const outputs = await session.run({image: tensor});
    const end = performance.now();
    const values = Object.fromEntries(Object.entries(outputs).map(([name, output]) => [name, output.data]));
    return {found: result(values, network, prepared, used, image), before: middle - start, inside: end - middle};
  });
}

const median = values => [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)];
const pause = () => new Promise(done => setTimeout(done));

function showTime(runs) {
  const count = runs.length === 1 ? 'one run' : `median of ${runs.length} runs`;
  element('time').textContent = `${median(runs.map(one => one.inside)).toFixed(1)} ms in the network (${count}), `
    + `${median(runs.map(one => one.before)).toFixed(1)} ms to prepare the image`;
}

function colour(number) {
  const own = network.palette?.[number];
  return own ? `rgb(${own})` : `hsl(${(number * 137.5) % 360} 85% 45%)`;
}

function drawMask(context, {mask, used}) {
  const small = document.createElement('canvas');
  [small.height, small.width] = used;
  const inside = small.getContext('2d'), dots = inside.createImageData(small.width, small.height);
  const colours = network.classes.map((_, number) => {
    inside.fillStyle = colour(number);
    inside.fillRect(0, 0, 1, 1);
    return inside.getImageData(0, 0, 1, 1).data;
  });
  mask.forEach((number, i) => dots.data.set(colours[number] ?? [0, 0, 0, 255], 4 * i));
  inside.putImageData(dots, 0, 0);
  context.globalAlpha = 0.55;
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, view.width, view.height);
  context.globalAlpha = 1;
}

function drawBoxes(context, boxes, scale) {
  const dot = view.width / (view.clientWidth || view.width);  // of the canvas, to one of the page
  const size = 14 * dot;
  context.lineWidth = 2.5 * dot;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = 'middle';
  for (const {label, score, number, box} of [...boxes].reverse()) {
    const [left, top, right, bottom] = box.map(place => place * scale);
    context.strokeStyle = colour(number);
    context.strokeRect(left, top, right - left, bottom - top);
    const words = `${label} ${score.toFixed(2)}`, wide = context.measureText(words).width + 8 * dot, high = size * 1.4;
    const x = Math.max(0, Math.min(left, view.width - wide)), y = top >= high ? top - high : top;
    context.fillStyle = colour(number);
    context.fillRect(x, y, wide, high);
    // A dark edge keeps the words readable on light colours.
    context.strokeStyle = '#000';
    context.lineJoin = 'round';
    context.lineWidth = 3 * dot;
    context.strokeText(words, x + 4 * dot, y + high / 2);
    context.lineWidth = 2.5 * dot;
    context.fillStyle = '#fff';
    context.fillText(words, x + 4 * dot, y + high / 2);
  }
}

/** Draw the image with what was found, and list that. */
function show() {
  if (!shown) return;
  const {bitmap, image, found} = shown, scale = VIEW / Math.max(image.width, image.height);
  element('found').hidden = view.hidden = false;
  view.width = Math.max(1, Math.round(image.width * scale));
  view.height = Math.max(1, Math.round(image.height * scale));
  const context = view.getContext('2d');
  context.drawImage(bitmap, 0, 0, view.width, view.height);
  const threshold = Number(element('threshold').value);
  element('threshold-value').textContent = threshold.toFixed(2);
  let listed, summary;
  if (found.mask) {
    drawMask(context, found);
    listed = found.shares;
    summary = 'Share of the image';
  } else if (found.scores) {
    listed = found.scores.slice(0, 5);
    summary = `The best ${listed.length} of ${network.classes.length} classes`;
  } else {
    listed = found.boxes.filter(one => one.score >= threshold);
    drawBoxes(context, listed, scale);
    summary = listed.length === 1 ? 'One box' : `${listed.length || 'No'} boxes`;
  }
  element('summary').textContent = summary;
  element('rows').replaceChildren(...listed.map(({label, score, number, box}) => {
    const row = document.createElement('tr');
    const cells = [label, found.mask ? `${(100 * score).toFixed(1)} %` : score.toFixed(3)];
    if (box) cells.push(box.map(side => side.toFixed(1)).join(', '));
    row.append(...cells.map(text => Object.assign(document.createElement('td'), {textContent: text})));
    if (!found.scores) row.firstChild.style.boxShadow = `inset 4px 0 ${colour(number)}`;
    row.firstChild.style.paddingLeft = '0.75rem';
    return row;
  }));
  const words = listed.slice(0, 10).map(one => `${one.label} ${one.score.toFixed(2)}`);
  view.setAttribute('aria-label', [summary, ...words].join(', '));
}

/** Look at one image, a blob or the promise of one: show the result at once, then run it again for the time. */
async function look(name, source) {
  stopCamera();
  const mine = ++turn;
  say(`${name} is read …`);
  try {
    const bitmap = await createImageBitmap(await source, {colorSpaceConversion: 'none'}).catch(() => {
      throw new Error('the browser cannot read it as an image; choose a JPEG or PNG file');
    });
    if (mine !== turn) return;
    const image = read(bitmap, bitmap.width, bitmap.height), size = `${image.width} × ${image.height} px`;
    const first = await run(image), runs = [];
    if (mine !== turn) return;
    shown = {bitmap, image, found: first.found};
    show();
    showTime([first]);
    say(`${name}, ${size}: is timed …`);
    // The first run of a session prepares it, and is not counted.
    const end = performance.now() + MOST_TIME;
    while (mine === turn && (!runs.length || runs.length < RUNS && performance.now() < end)) {
      runs.push(await run(image));
      if (mine === turn) showTime(runs);
      await pause();
    }
    if (mine === turn) say(`${name}, ${size}`);
  } catch (error) {
    if (mine === turn) say(`${name} cannot be looked at: ${error.message}`, true);
  }
}

let stream;
const video = Object.assign(document.createElement('video'), {muted: true, playsInline: true});

function stopCamera() {
  stream?.getTracks().forEach(track => track.stop());
  stream = undefined;
  element('camera').textContent = 'Start the camera';
  element('camera').setAttribute('aria-pressed', 'false');
}

const CAMERA_FAULTS = {
  NotAllowedError: 'the browser does not allow it; allow the camera for this page in its settings',
  NotFoundError: 'none was found', NotReadableError: 'another program uses it',
};

async function watch() {
  const mine = ++turn, runs = [];
  if (!navigator.mediaDevices) {
    say('Browsers give the camera to pages of localhost and https alone. On a phone, “Choose an image” offers it.', true);
    return;
  }
  try {
    say('The camera starts …');
    const opened = await navigator.mediaDevices.getUserMedia({video: {facingMode: 'environment'}});
    if (mine !== turn) return opened.getTracks().forEach(track => track.stop());
    stream = opened;
    element('camera').textContent = 'Stop the camera';
    element('camera').setAttribute('aria-pressed', 'true');
    video.srcObject = stream;
    await video.play();
    say(`The camera, ${video.videoWidth} × ${video.videoHeight} px`);
  } catch (error) {
    stopCamera();
    if (mine === turn) say(`The camera cannot be used: ${CAMERA_FAULTS[error.name] ?? error.message}`, true);
    return;
  }
  try {
    while (mine === turn && stream) {
      const image = read(video, video.videoWidth, video.videoHeight), done = await run(image);
      if (mine !== turn || !stream) break;
      runs.push(done);
      if (runs.length > RUNS) runs.shift();
      // A copy, which the next frame does not change.
      shown = {bitmap: await createImageBitmap(canvas), image, found: done.found};
      show();
      showTime(runs);
      await new Promise(requestAnimationFrame);
    }
  } catch (error) {
    stopCamera();
    say(`The camera’s frames cannot be looked at: ${error.message}`, true);
  }
}

function addExamples() {
  for (const [number, address] of network.examples.entries()) {
    const button = Object.assign(document.createElement('button'), {type: 'button'});
    button.append(Object.assign(document.createElement('img'), {src: address, alt: `Example ${number + 1}`}));
    button.addEventListener('click', () => look(`Example ${number + 1}`, fetched(address).then(answer => answer.blob())));
    element('examples').append(button);
  }
  element('examples').hidden = !network.examples.length;
}

const TASKS = {detection: 'A detector', segmentation: 'A segmentor', classification: 'A classifier'};

async function start() {
  try {
    say('The network is loaded …');
    network = await (await fetched('network.json', {cache: 'no-store'})).json();
    session = await ort.InferenceSession.create(await (await fetched(network.file)).arrayBuffer());
  } catch (error) {
    say(`The network cannot be loaded: ${error.message}`, true);
    return;
  }
  element('about').textContent = `${TASKS[network.task]} of ${network.classes.length} classes. Images stay on this device.`;
  element('choice').hidden = network.task !== 'detection';
  element('box-title').hidden = network.task !== 'detection';
  if (network.task === 'segmentation') element('score-title').textContent = 'Share';
  addExamples();
  element('file').disabled = element('camera').disabled = false;
  element('file').addEventListener('change', ({target}) => {
    const [file] = target.files;
    if (file) look(file.name, file);
    target.value = '';  // so that the same file can be chosen again
  });
  element('camera').addEventListener('click', () => {
    if (!stream) return watch();
    turn++;
    stopCamera();
    say('The camera is off.');
  });
  element('threshold').addEventListener('input', show);
  addEventListener('resize', show);
  say('Choose an image, or start the camera.');
  // Shows at once what the page does.
  element('examples').querySelector('button')?.click();
}

start();
