// What lies before and behind the network, as tools/deployment/run_onnx.py has it. An image here is {data, height, width}
// with data a Uint8Array (height · width · 3), RGB.

const MOST_PIXELS = 2 ** 26;

/** The number as Python and NumPy round it: halves to even. */
function round(value) {
  const low = Math.floor(value), rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/** Of each new place the old ones that make it, and the share of each, `most` to a place: `of(place)` as [first, shares]. */
function line(size, count, most, of) {
  const places = new Int32Array(count * most), shares = new Float64Array(count * most);
  for (let i = 0; i < count; i++) {
    const [first, found] = of(i);
    for (let n = 0; n < found.length; n++) {
      places[i * most + n] = Math.min(Math.max(first + n, 0), size - 1);
      shares[i * most + n] = found[n];
    }
  }
  return {most, places, shares};
}

/** OpenCV's. */
function taps(size, count, kernel) {
  return line(size, count, kernel === 'bicubic' ? 4 : 2, i => {
    const place = (i + 0.5) * size / count - 0.5, low = Math.floor(place), rest = place - low;
    if (kernel === 'bilinear') return [low, [1 - rest, rest]];
    const [before, here, after] = [((-0.75 * (rest + 1) + 3.75) * (rest + 1) - 6) * (rest + 1) + 3,
      ...[rest, 1 - rest].map(part => (1.25 * part - 2.25) * part * part + 1)];
    return [low - 1, [before, here, after, 1 - before - here - after]];
  });
}

const KERNELS = {
  bilinear: {reach: 1, share: x => Math.max(0, 1 - Math.abs(x))},
  bicubic: {reach: 2, share: x => {
    const d = Math.abs(x);
    return d < 1 ? (1.5 * d - 2.5) * d * d + 1 : d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
  }},
};
const PILLOW_UNIT = 2 ** 22;  // its shares are whole numbers of this

/** Pillow's, which spread over all that a new place covers. */
function pillowTaps(size, count, kernel) {
  const {reach, share} = KERNELS[kernel], scale = size / count, wide = Math.max(scale, 1);
  return line(size, count, 2 * Math.ceil(reach * wide) + 1, i => {
    const middle = (i + 0.5) * scale, first = Math.max(0, Math.trunc(middle - reach * wide + 0.5));
    const last = Math.min(size, Math.trunc(middle + reach * wide + 0.5));
    const shares = Array.from({length: last - first}, (_, n) => share((first + n - middle + 0.5) / wide));
    const sum = shares.reduce((one, other) => one + other, 0);
    return [first, shares.map(one => Math.round(one / sum * PILLOW_UNIT))];
  });
}

/** Pillow's way along one side: whole numbers, which are rounded again behind it. */
function along({data, width}, newHeight, newWidth, {most, places, shares}, isAcross) {
  const resized = new Uint8Array(newHeight * newWidth * 3);
  for (let y = 0, at = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++) {
      const start = (isAcross ? x : y) * most;
      for (let c = 0; c < 3; c++, at++) {
        let sum = PILLOW_UNIT / 2;
        for (let n = start; n < start + most; n++) {
          sum += data[(isAcross ? y * width + places[n] : places[n] * width + x) * 3 + c] * shares[n];
        }
        resized[at] = Math.min(Math.max(Math.floor(sum / PILLOW_UNIT), 0), 255);
      }
    }
  }
  return {data: resized, height: newHeight, width: newWidth};
}

/** By the method that the network was trained with: Pillow smooths where it makes smaller, OpenCV does not. */
function resize(image, newHeight, newWidth, method) {
  if (newHeight * newWidth > MOST_PIXELS) {
    throw new Error(`its preparation makes ${newWidth} × ${newHeight} pixels of it`);
  }
  const {data, height, width} = image, [program, kernel] = method.split(' ');
  if (program === 'pillow') {
    // Pillow 13 does the other side first where that makes much less of the image; the rounding differs.
    const narrow = along(image, height, newWidth, pillowTaps(width, newWidth, kernel), true);
    return along(narrow, newHeight, newWidth, pillowTaps(height, newHeight, kernel), false);
  }
  const down = taps(height, newHeight, kernel), across = taps(width, newWidth, kernel), {most} = down;
  const resized = new Uint8Array(newHeight * newWidth * 3);
  for (let y = 0, at = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++) {
      for (let c = 0; c < 3; c++, at++) {
        let sum = 0;
        for (let n = y * most; n < (y + 1) * most; n++) {
          const start = down.places[n] * width;
          let row = 0;
          for (let m = x * most; m < (x + 1) * most; m++) {
            row += data[(start + across.places[m]) * 3 + c] * across.shares[m];
          }
          sum += row * down.shares[n];
        }
        resized[at] = Math.min(Math.max(round(sum), 0), 255);
      }
    }
  }
  return {data: resized, height: newHeight, width: newWidth};
}

/** A part of an image, filled up with a colour where it reaches over the edge. */
function part({data, height, width}, top, left, newHeight, newWidth, colour = []) {
  const cut = new Uint8Array(newHeight * newWidth * 3), columns = Math.min(newWidth, width - left);
  if (colour.length) cut.forEach((_, at) => { cut[at] = colour[at % 3]; });
  for (let y = 0; y < Math.min(newHeight, height - top); y++) {
    const start = ((top + y) * width + left) * 3;
    cut.set(data.subarray(start, start + columns * 3), y * newWidth * 3);
  }
  return {data: cut, height: newHeight, width: newWidth};
}

/** The network's image, and the height and width of its part that is not padding. */
export function prepare(image, steps) {
  let used = [image.height, image.width], method = 'opencv bilinear';
  for (const step of steps) {
    const [[kind, value]] = Object.entries(step), {height, width} = image;
    if (kind === 'method') {
      method = value;
    } else if (kind === 'resize') {
      image = resize(image, ...value, method);
    } else if (kind === 'fit') {
      const scale = Math.min(value[0] / Math.max(height, width), value[1] / Math.min(height, width));
      image = resize(image, Math.floor(height * scale + 0.5), Math.floor(width * scale + 0.5), method);
    } else if (kind === 'short_side') {
      image = resize(image, Math.max(value, Math.floor(value * height / width)),
                     Math.max(value, Math.floor(value * width / height)), method);
    } else if (kind === 'scale') {
      image = resize(image, Math.floor(height * value + 0.5), Math.floor(width * value + 0.5), method);
    } else if (kind === 'crop') {
      const [top, left] = [height - value[0], width - value[1]].map(rest => Math.max(0, round(rest / 2)));
      image = part(image, top, left, Math.min(value[0], height - top), Math.min(value[1], width - left));
    } else if (kind !== 'letterbox') {
      throw new Error(`this page does not know the step “${kind}” of network.json; export the network again`);
    }
    used = [image.height, image.width];
    if (kind === 'letterbox') {
      const scale = Math.min(value[0] / height, value[1] / width);
      used = [height, width].map(side => Math.max(1, Math.floor(side * scale + 0.5)));
      image = part(resize(image, ...used, method), 0, 0, value[0], value[1], value.slice(2));
    }
  }
  return {image, used};
}

/** What was found, in pixels of the image as it was. `outputs` are the network's, by name, typed arrays. */
export function result(outputs, {task, classes}, prepared, used, {height, width}) {
  if ([outputs.scores, outputs.boxes].some(values => values?.some(Number.isNaN))) throw new Error('the network gives NaN');
  if (task === 'classification') {
    return {scores: Array.from(outputs.scores, (score, label) => ({label: classes[label], score, number: label}))
      .sort((one, other) => other.score - one.score)};
  }
  if (task === 'segmentation') {
    // Bytes, or wider where there are more than 256 classes.
    const mask = new outputs.mask.constructor(used[0] * used[1]), pixels = new Array(classes.length).fill(0);
    for (let y = 0; y < used[0]; y++) {
      for (let x = 0; x < used[1]; x++) {
        const label = outputs.mask[y * prepared.width + x];
        mask[y * used[1] + x] = label;
        pixels[label]++;
      }
    }
    return {mask, used, shares: classes.map((label, number) => ({label, number, score: pixels[number] / mask.length}))
      .filter(one => one.score > 0).sort((one, other) => other.score - one.score)};
  }
  const sides = [[used[1], width], [used[0], height]];
  const boxes = Array.from(outputs.scores, (score, i) => ({
    label: classes[Number(outputs.labels[i])], number: Number(outputs.labels[i]), score,
    box: Array.from(outputs.boxes.subarray(4 * i, 4 * i + 4), (place, side) => {
      const [inside, outside] = sides[side % 2];
      return Math.min(Math.max(place / inside, 0), 1) * outside;
    }),
  }));
  return {boxes: boxes.filter(one => one.score > 0)};
}
