"use strict";
// From logits to text: symbols, chance, the draw, and the loop that writes.

/** Thrown for a text that the network cannot read; its message is for people. */
class Unreadable extends Error {}

/** The symbols that the network knows, by their ids. */
class Alphabet {
  constructor(model) {
    this.bytes = model.bytes;
    this.cutter = model.cutting ? new Cutter(model.cutting) : null; // of longer symbols
    this.names = [...model.codes.map((code) => String.fromCodePoint(code)), ...model.long];
    this.ids = new Map(this.names.map((name, id) => [name, id]));
  }

  /** The ids of a text. */
  encode(text) {
    if (this.bytes) return [...text].flatMap((character) => this.idsOfBytes(character));
    const found = this.cutter ? this.cutter.cut(text) : [...text];
    // a longer symbol that is too rare to be known is read character by character
    return found.flatMap((name) => this.ids.get(name) ?? [...name].map((each) => this.idOf(each)));
  }

  idOf(character) {
    return this.ids.get(character) ?? this.refuse(character);
  }

  /** The ids of a character's bytes in UTF-8. */
  idsOfBytes(character) {
    const bytes = [...new TextEncoder().encode(character)];
    return bytes.map((byte) => this.ids.get(String.fromCodePoint(byte)) ?? this.refuse(character));
  }

  refuse(character) {
    if (character === "\n") {
      throw new Unreadable("The network does not know line breaks: remove them.");
    }
    const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    throw new Unreadable(
      `The network does not know the character “${character}” (U+${code}): remove it.`);
  }

  byteOf(id) {
    return Uint8Array.of(this.names[id].codePointAt(0));
  }

  /** A function from an id to the characters that it completes; without an id, to the rest. */
  decoder() {
    if (this.bytes) {
      const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
      return (id) => id === undefined
        ? decoder.decode() : decoder.decode(this.byteOf(id), { stream: true });
    }
    return (id) => id === undefined ? "" : this.names[id];
  }
}

/** Random numbers that a seed decides: xoshiro128** (Blackman & Vigna 2018). */
class Chance {
  constructor(seed) {
    let mixed = seed >>> 0, rest = Math.floor(seed / 2 ** 32) >>> 0;
    const splitmix = () => { // spreads the seed over the whole state
      mixed = (mixed + 0x9e3779b9) >>> 0;
      let z = mixed ^ rest;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    };
    this.state = Uint32Array.from({ length: 4 }, splitmix);
  }

  bits() {
    const s = this.state, turned = (x, k) => (x << k) | (x >>> (32 - k));
    const result = Math.imul(turned(Math.imul(s[1], 5), 7), 9) >>> 0, shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = turned(s[3], 11);
    return result;
  }

  /** A number in [0, 1). */
  uniform() {
    return ((this.bits() >>> 5) * 2 ** 26 + (this.bits() >>> 6)) / 2 ** 53;
  }
}

/** The id of the first of the largest logits. Those that are not numbers are the smallest. */
function likeliest(logits) {
  let best = 0, top = -Infinity;
  for (let id = 0; id < logits.length; id++) {
    if (logits[id] > top) [best, top] = [id, logits[id]];
  }
  return best;
}

/** An id drawn from softmax(logits / temperature); at temperature 0 the likeliest. */
function draw(logits, temperature, uniform) {
  const best = likeliest(logits), top = logits[best];
  if (temperature === 0 || !Number.isFinite(top)) return best;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - top) / temperature) || 0);
  let left = uniform * weights.reduce((sum, weight) => sum + weight, 0);
  let last = best;
  for (let id = 0; id < weights.length; id++) {
    if (!weights[id]) continue;
    last = id;
    left -= weights[id];
    if (left < 0) break;
  }
  return last;
}

const LONGEST_LINE = 1000; // characters: a network may never end a line

/** Writes texts with a network. */
class Writer {
  constructor(model, buffer) {
    this.model = model;
    this.network = new Network(model, buffer);
    this.alphabet = new Alphabet(model);
  }

  /**
   * Yields the text piece by piece, "" for a step that completes no character.
   *
   * prime: the beginning, which is not repeated. length: how many symbols, or how many lines if
   * the network learned lines; 0 never ends. The same seed gives the same text.
   */
  *write({ prime, temperature, length, seed }) {
    const chance = new Chance(seed);
    const next = (id) => draw(this.network.step(id), temperature, chance.uniform());
    if (this.model.lines) yield* this.lines(prime, length, next);
    else yield* this.text(prime, length, next);
  }

  *text(prime, length, next) {
    let id = yield* this.begin(this.alphabet.encode(prime));
    const decode = this.alphabet.decoder();
    for (let count = 0; length === 0 || count < length; count++) yield decode((id = next(id)));
    yield decode();
  }

  /** Each line is a text of its own, which begins like the last line of prime. */
  *lines(prime, length, next) {
    const beginning = prime.slice(prime.lastIndexOf("\n") + 1);
    const read = [this.model.lineEnd, ...this.alphabet.encode(beginning)];
    for (let line = 0; length === 0 || line < length; line++) {
      let id = yield* this.begin(read), held = "";
      if (line) yield beginning;
      const decode = this.alphabet.decoder();
      for (let count = 0; count < LONGEST_LINE; count++) {
        if ((id = next(id)) === this.model.lineEnd) {
          held = held.replace(/\r$/, "");
          break;
        }
        const piece = held + decode(id);
        held = piece.endsWith("\r") ? piece : ""; // a line end may follow
        yield held ? "" : piece;
      }
      yield `${held}${decode()}\n`;
    }
  }

  /** Read ids from the zero state, all but the last; returns that, which is to be read next. */
  *begin(ids) {
    this.network.reset();
    for (const id of ids.slice(0, -1)) {
      this.network.step(id);
      yield "";
    }
    return ids.length ? ids[ids.length - 1] : this.model.first;
  }
}

const SLICE_MS = 25;

/**
 * A function that takes messages and answers them through post, slice by slice so that it hears the
 * next message. { model, buffer } comes first and is answered by { ready }; { write, run } begins a
 * text, { stop } ends it.
 */
function serve(post) {
  const { port1: turns, port2: turn } = new MessageChannel(); // unlike timers, it never waits
  let writer = null, text = null, run = 0, count = 0, started = 0;

  function end(message) {
    text = null;
    post({ run, end: true, count, seconds: (performance.now() - started) / 1000, ...message });
  }

  turns.onmessage = () => {
    if (!text) return;
    let piece = "";
    try {
      const until = performance.now() + SLICE_MS;
      do {
        const { value, done } = text.next();
        if (done) {
          post({ run, piece });
          return end({});
        }
        piece += value;
        count += [...value].length;
      } while (performance.now() < until);
      post({ run, piece });
      turn.postMessage(null);
    } catch (error) {
      end({ error: error instanceof Unreadable ? error.message : String(error) });
    }
  };

  return (message) => {
    if (message.model) {
      writer = new Writer(message.model, message.buffer);
      post({ ready: true });
    }
    if (message.stop && text) end({ stopped: true });
    if (message.write) {
      const idle = !text;
      [text, run] = [writer.write(message.write), message.run];
      [count, started] = [0, performance.now()];
      if (idle) turn.postMessage(null);
    }
  };
}
