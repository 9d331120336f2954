// What lies before and behind the network, as tools/deployment/run_onnx.py has it. An image here is {data, height, width}
// with data a Uint8Array (height · width · 3), RGB.

const MOST_PIXELS = 2 ** 26;

/** The number as Python and NumPy round it: halves to even. */
function round(value) {
  const low = Math.floor(value), rest = value - low;
  return rest < 0.5 || (rest === 0.5 && low % 2 === 0) ? low : low + 1;
}

/** Of each new place, the old one to its left and its distance from that. */
function corners(size, count) {
  const low = new Int32Array(count), share = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const place = Math.min(Math.max((i + 0.5) * size / count - 0.5, 0), size - 1);
    low[i] = Math.floor(place);
    share[i] = place - low[i];
  }
  return [low, share];
}

/** Bilinear without antialiasing, as OpenCV has it and the network was trained with; a canvas would smooth. */
function resize({data, height, width}, newHeight, newWidth) {
  if (newHeight * newWidth > MOST_PIXELS) {
    throw new Error(`its preparation makes ${newWidth} × ${newHeight} pixels of it`);
  }
  const [tops, downs] = corners(height, newHeight), [lefts, acrosses] = corners(width, newWidth);
  const resized = new Uint8Array(newHeight * newWidth * 3);
  for (let y = 0, at = 0; y < newHeight; y++) {
    const top = tops[y] * width, bottom = Math.min(tops[y] + 1, height - 1) * width, down = downs[y];
    for (let x = 0; x < newWidth; x++) {
      const left = lefts[x], right = Math.min(left + 1, width - 1), across = acrosses[x];
      for (let c = 0; c < 3; c++, at++) {
        const upper = data[(top + left) * 3 + c] * (1 - across) + data[(top + right) * 3 + c] * across;
        const lower = data[(bottom + left) * 3 + c] * (1 - across) + data[(bottom + right) * 3 + c] * across;
        resized[at] = round(upper * (1 - down) + lower * down);
      }
    }
  }
  return {data: resized, height: newHeight, width: newWidth};
}

/** A part of an image, filled up with a colour where it reaches over the edge. */
function part({data, height, width}, top, left, newHeight, newWidth, colour = [0, 0, 0]) {
  const cut = new Uint8Array(newHeight * newWidth * 3), columns = Math.min(newWidth, width - left);
  for (let at = 0; at < cut.length; at++) cut[at] = colour[at % 3];
  for (let y = 0; y < Math.min(newHeight, height - top); y++) {
    const start = ((top + y) * width + left) * 3;
    cut.set(data.subarray(start, start + columns * 3), y * newWidth * 3);
  }
  return {data: cut, height: newHeight, width: newWidth};
}

/** The network's image, and the height and width of its part that is not padding. */
export function prepare(image, steps) {
  let used = [image.height, image.width];
  for (const step of steps) {
    const [[kind, value]] = Object.entries(step), {height, width} = image;
    if (kind === 'resize') {
      image = resize(image, ...value);
    } else if (kind === 'fit') {
      const scale = Math.min(value[0] / Math.max(height, width), value[1] / Math.min(height, width));
      image = resize(image, Math.floor(height * scale + 0.5), Math.floor(width * scale + 0.5));
    } else if (kind === 'short_side') {
      image = resize(image, Math.max(value, Math.floor(value * height / width)),
                     Math.max(value, Math.floor(value * width / height)));
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
      image = part(resize(image, ...used), 0, 0, value[0], value[1], value.length > 2 ? value.slice(2) : undefined);
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
