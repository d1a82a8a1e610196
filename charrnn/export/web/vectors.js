"use strict";
// Products of whole numbers on the processor's vector instructions, where the browser allows it: a
// WebAssembly function, assembled here. Sums of whole numbers are exact in any order, so they are
// those of multiplyWhole in engine.js, several times as fast.

const ROWS = 4, COLUMNS = 16; // the function goes through a matrix in blocks of this size

/** The smallest multiple of unit that is not below size. */
function upTo(unit, size) {
  return Math.ceil(size / unit) * unit;
}

/** A whole number in the variable length of WebAssembly (LEB128). */
function leb(number) {
  return number < 128 ? [number] : [number % 128 + 128, ...leb(number >> 7)];
}

/**
 * The WebAssembly module. Its function sums(weights, x, out, end, row) multiplies a matrix of int8,
 * whose rows have row bytes each, with a vector x of int16, and writes an int32 for each row to out
 * and on, up to end. All arguments but row are addresses.
 */
function assemble() {
  const [weights, x, out, end, row, k] = [0, 1, 2, 3, 4, 5], total = [6, 7, 8, 9];
  const get = (local) => [0x20, local], set = (local) => [0x21, local];
  const constant = (value) => [0x41, value], add = [0x6a], below = [0x49];
  const advance = (local, step) => [...get(local), ...step, ...add, ...set(local)];
  const loop = (...body) => [0x03, 0x40, ...body.flat(), 0x0d, 0x00, 0x0b]; // while the last is true
  const zero = [0xfd, 0x0c, ...Array(16).fill(0)];
  const load16 = (offset) => [0xfd, 0x00, 0, offset]; // eight int16
  const load8 = (offset) => [0xfd, 0x01, 0, offset]; // eight int8 as int16
  const dot = [0xfd, 0xba, 0x01]; // four sums of two products each
  const add4 = [0xfd, 0xae, 0x01];
  const lane = (number) => [0xfd, 0x1b, number];

  /** Adds the products of the next 16 columns to the total of one of the four rows. */
  const multiply = (number) => [
    ...Array(number).fill([...get(row), ...add]).flat(), ...set(10), // where the row goes on
    ...[0, 8].flatMap((place) => [
      ...get(10), ...load8(place),
      ...get(x), ...get(k), ...add, ...get(k), ...add, ...load16(2 * place),
      ...dot,
    ]),
    ...add4, ...get(total[number]), ...add4, ...set(total[number]),
  ];
  const store = (number) => [
    ...get(out),
    ...[0, 1, 2, 3].flatMap((each) => [...get(total[number]), ...lane(each)]),
    ...add, ...add, ...add,
    0x36, 0, 4 * number,
  ];
  const body = [
    3, 1, 0x7f, 4, 0x7b, 1, 0x7f, // locals: k, the four totals, a pointer
    ...loop(
      total.flatMap((local) => [...zero, ...set(local)]),
      [...constant(0), ...set(k)],
      loop(
        [0, 1, 2, 3].flatMap((number) => [
          ...get(weights), ...get(k), ...add, ...multiply(number)]),
        advance(k, constant(COLUMNS)),
        [...get(k), ...get(row), ...below],
      ),
      [0, 1, 2, 3].flatMap(store),
      advance(weights, [...get(row), ...constant(2), 0x74]), // four rows on: row << 2
      advance(out, constant(4 * ROWS)),
      [...get(out), ...get(end), ...below],
    ),
    0x0b,
  ];
  const sized = (bytes) => [...leb(bytes.length), ...bytes];
  const name = (text) => sized([...text].map((letter) => letter.charCodeAt(0)));
  const section = (number, ...parts) => [number, ...sized([1, ...parts.flat()])];
  return Uint8Array.from([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [0x60, 5, ...Array(5).fill(0x7f), 0]), // a function of five int32
    ...section(2, name("page"), name("memory"), [2, 0, 1]),
    ...section(3, [0]),
    ...section(7, name("sums"), [0, 0]),
    ...section(10, sized(body)),
  ]);
}

/** Room for matrices and vectors, and their products. */
class Vectors {
  /** matrices: the [rows, columns] of all. */
  constructor(matrices) {
    const most = (place) => Math.max(...matrices.map((matrix) => matrix[place]));
    const room = matrices.map(([rows, columns]) => upTo(ROWS, rows) * upTo(COLUMNS, columns));
    const vectors = matrices.length * 2 * upTo(COLUMNS, most(1)); // as many as there may be
    const sums = 4 * upTo(ROWS, most(0));
    const bytes = room.reduce((total, size) => total + size, vectors + sums);
    this.memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) });
    const module = new WebAssembly.Module(assemble());
    const imports = { page: { memory: this.memory } };
    this.function = new WebAssembly.Instance(module, imports).exports.sums;
    this.free = 0;
    this.sums = new Int32Array(this.memory.buffer, this.take(sums), sums / 4);
  }

  /** Vectors for these matrices; null where a browser has none. */
  static open(matrices) {
    try {
      return new Vectors(matrices);
    } catch {
      return null;
    }
  }

  take(bytes) {
    const place = this.free;
    this.free += bytes;
    return place;
  }

  /** A vector of int16 that can be multiplied. */
  vector(size) {
    return new Int16Array(this.memory.buffer, this.take(2 * upTo(COLUMNS, size)), size);
  }

  /** A function from such a vector to its products with weights (rows, columns), in int32. */
  matrix(weights, rows, columns) {
    const row = upTo(COLUMNS, columns), place = this.take(upTo(ROWS, rows) * row);
    const bytes = new Int8Array(this.memory.buffer, place, rows * row);
    for (let r = 0; r < rows; r++) {
      bytes.set(weights.subarray(r * columns, (r + 1) * columns), r * row);
    }
    const out = this.sums.byteOffset, end = out + 4 * upTo(ROWS, rows);
    return (x) => {
      this.function(place, x.byteOffset, out, end, row);
      return this.sums;
    };
  }
}
