"use strict";
// The network. It computes what charrnn's own engines compute with weights in int8: one symbol a
// step, from the weights in this page to the scores (logits) of all symbols that may follow.

/** The weights of the page: typed arrays by name, from the bytes that hold them. */
function readTensors(index, buffer) {
  const tensors = new Map();
  for (const { name, type, start, size } of index) {
    const array = new { int8: Int8Array, float16: Uint16Array, float32: Float32Array }[type](
      buffer, start, size);
    tensors.set(name, type === "float16" ? fromHalves(array) : array);
  }
  return tensors;
}

/** Numbers in half precision (IEEE 754 binary16), given by their bits, in single precision. */
function fromHalves(halves) {
  const numbers = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const exponent = (halves[i] >> 10) & 31, fraction = halves[i] & 1023;
    let size;
    if (exponent === 0) size = fraction * 2 ** -24;
    else if (exponent === 31) size = fraction ? NaN : Infinity;
    else size = (1024 + fraction) * 2 ** (exponent - 25);
    numbers[i] = halves[i] >> 15 ? -size : size;
  }
  return numbers;
}

/** x rounded to the nearest whole number, halves to even: beyond 2^52 a double has no fraction. */
function roundEven(x) {
  return x + 6755399441055744 - 6755399441055744;
}

function sigmoid(x) {
  return 0.5 * Math.tanh(0.5 * x) + 0.5;
}

/** The products of whole numbers: weights (rows, columns) times x (columns), in sums (rows). */
function multiplyWhole(sums, weights, x) {
  const columns = x.length, rows = sums.length;
  let row = 0;
  for (; row + 4 <= rows; row += 4) { // four rows at a time, so that each x[k] is read once
    let a = row * columns, b = a + columns, c = b + columns, d = c + columns;
    let first = 0, second = 0, third = 0, fourth = 0;
    for (let k = 0; k < columns; k++) {
      const value = x[k];
      first = (first + Math.imul(weights[a++], value)) | 0;
      second = (second + Math.imul(weights[b++], value)) | 0;
      third = (third + Math.imul(weights[c++], value)) | 0;
      fourth = (fourth + Math.imul(weights[d++], value)) | 0;
    }
    sums[row] = first;
    sums[row + 1] = second;
    sums[row + 2] = third;
    sums[row + 3] = fourth;
  }
  for (; row < rows; row++) {
    let sum = 0;
    for (let k = 0, a = row * columns; k < columns; k++, a++) {
      sum = (sum + Math.imul(weights[a], x[k])) | 0;
    }
    sums[row] = sum;
  }
  return sums;
}

/** Adds weights (rows, columns) times x (columns) to out (rows); scales may be missing. */
function addReal(out, weights, scales, x) {
  const columns = x.length;
  for (let row = 0, place = 0; row < out.length; row++) {
    let even = 0, odd = 0, k = 0;
    for (; k + 2 <= columns; k += 2) {
      even += weights[place++] * x[k];
      odd += weights[place++] * x[k + 1];
    }
    if (k < columns) even += weights[place++] * x[k];
    out[row] += scales ? (even + odd) * scales[row] : even + odd;
  }
}

// One step of each cell: from what its gates read from the input (x) and from the state (u), with
// their biases, to the new h, and c where there is one. They change h and c.
// charrnn/cells/ has the equations with their sources.
const CELLS = {
  "lstm": (x, u, h, c) => {
    const H = h.length;
    for (let j = 0; j < H; j++) {
      const i = sigmoid(x[j] + u[j]), f = sigmoid(x[H + j] + u[H + j]);
      const g = Math.tanh(x[2 * H + j] + u[2 * H + j]), o = sigmoid(x[3 * H + j] + u[3 * H + j]);
      c[j] = f * c[j] + i * g;
      h[j] = o * Math.tanh(c[j]);
    }
  },
  "gru": (x, u, h) => {
    const H = h.length;
    for (let j = 0; j < H; j++) {
      const reset = sigmoid(x[j] + u[j]), update = sigmoid(x[H + j] + u[H + j]);
      const candidate = Math.tanh(x[2 * H + j] + reset * u[2 * H + j]);
      h[j] = (1 - update) * candidate + update * h[j];
    }
  },
  "elman": (x, u, h) => {
    for (let j = 0; j < h.length; j++) h[j] = Math.tanh(x[j] + u[j]);
  },
  "rnn-relu": rectified,
  "irnn": rectified,
};

function rectified(x, u, h) {
  for (let j = 0; j < h.length; j++) h[j] = Math.max(x[j] + u[j], 0);
}

/** A matrix of the network with its bias, and the product of the two with a vector. */
class Linear {
  constructor(tensors, weight, bias) {
    this.weights = tensors.get(weight);
    this.scales = tensors.get(`${weight}.scales`); // one for each row, if the weights are int8
    this.bias = tensors.get(bias);
    this.out = new Float32Array(this.bias.length);
  }

  /** weights · x + bias, in an array that the next call changes. */
  times(x) {
    this.out.set(this.bias);
    addReal(this.out, this.weights, this.scales, x);
    return this.out;
  }
}

/** The same for a vector of whole numbers, which stand for multiples of grain. */
class WholeLinear extends Linear {
  constructor(tensors, weight, bias, grain, vectors) {
    super(tensors, weight, bias);
    const rows = this.bias.length, sums = new Int32Array(rows);
    this.grain = grain;
    this.products = vectors
      ? vectors.matrix(this.weights, rows, this.weights.length / rows)
      : (x) => multiplyWhole(sums, this.weights, x);
  }

  times(x) {
    const { out, bias, scales, grain } = this, sums = this.products(x);
    for (let row = 0; row < out.length; row++) out[row] = bias[row] + sums[row] * scales[row] * grain;
    return out;
  }
}

/** A recurrent layer and its state. */
class Layer {
  constructor(tensors, index, model, vectors) {
    // Products read h in whole multiples of 1 / scale, if the cell keeps it within ±1. Else scale is
    // 0, and they read h itself.
    const scale = model.stateScale, name = `layers.${index}`;
    const linear = (gates) => {
      const names = [`${name}.weight_${gates}`, `${name}.bias_${gates}`];
      return scale && !(index === 0 && gates === "ih") // which reads embeddings
        ? new WholeLinear(tensors, ...names, 1 / scale, vectors) : new Linear(tensors, ...names);
    };
    this.step = CELLS[model.cell];
    [this.input, this.recurrent] = [linear("ih"), linear("hh")];
    this.h = new Float32Array(model.hidden);
    this.c = new Float32Array(model.hidden);
    this.scale = scale;
    this.read = !scale ? this.h
      : vectors ? vectors.vector(model.hidden) : new Int16Array(model.hidden);
  }

  reset() {
    this.h.fill(0);
    this.c.fill(0);
    this.read.fill(0);
  }

  /** One step, from what the gates read from the input. */
  advance(x) {
    this.step(x, this.recurrent.times(this.read), this.h, this.c);
    if (!this.scale) return;
    for (let j = 0; j < this.h.length; j++) {
      const bounded = Math.min(Math.max(this.h[j], -1), 1);
      this.read[j] = roundEven(Math.fround(bounded * this.scale));
    }
  }
}

/** The whole network: embedding, recurrent layers, head. */
class Network {
  constructor(model, buffer) {
    const tensors = readTensors(model.tensors, buffer);
    this.model = model;
    this.embedding = tensors.get("embedding.weight");
    this.head = new Linear(tensors, "head.weight", "head.bias");
    const rows = tensors.get("layers.0.bias_hh").length;
    const vectors = model.stateScale
      ? Vectors.open(Array(2 * model.layers - 1).fill([rows, model.hidden])) : null;
    this.layers = Array.from(
      { length: model.layers }, (_, index) => new Layer(tensors, index, model, vectors));
    this.features = new Float32Array(model.hidden);
    this.projected = new Map(); // what the first layer's gates read from symbols met so far
  }

  /** Forget what was read. */
  reset() {
    for (const layer of this.layers) layer.reset();
  }

  /** Read the symbol id; returns the logits of the next one, in an array that is used again. */
  step(id) {
    let x = this.fromSymbol(id), below = null;
    for (const layer of this.layers) {
      if (below) x = layer.input.times(below.read);
      layer.advance(x);
      below = layer;
    }
    if (!this.model.sumLayers) return this.head.times(below.h);
    this.features.fill(0);
    for (const { h } of this.layers) {
      for (let j = 0; j < h.length; j++) this.features[j] += h[j];
    }
    return this.head.times(this.features);
  }

  /** What the first layer's gates read from a symbol: the same at each of its places. */
  fromSymbol(id) {
    const known = this.projected.get(id);
    if (known) return known;
    const width = this.embedding.length / this.model.symbols;
    const vector = this.embedding.subarray(id * width, (id + 1) * width);
    const x = this.layers[0].input.times(vector).slice();
    if (this.projected.size * x.length < 1 << 24) this.projected.set(id, x); // 64 MB at most
    return x;
  }
}
