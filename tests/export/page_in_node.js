// The engine of an exported page, without a browser: node page_in_node.js PAGE < REQUEST > ANSWER
"use strict";
const fs = require("node:fs");
const vm = require("node:vm");

const page = fs.readFileSync(process.argv[2], "utf8");
const request = JSON.parse(fs.readFileSync(0, "utf8"));

function block(attributes) {
  const tag = `<script${attributes}>`, begin = page.indexOf(tag) + tag.length;
  return page.slice(begin, page.indexOf("</script>", begin));
}

const model = JSON.parse(block(' type="application/json" id="model"'));
const bytes = Buffer.from(block(' type="application/octet-stream" id="weights"'), "base64");
const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
const names = "CELLS, Network, Writer, Chance, draw, serve, fromHalves, roundEven";
const engine = vm.runInThisContext(`${block(' id="engine"')}; ({ ${names} })`);

const does = {
  scalars: (ids) => { // as where a browser has no vectors
    delete globalThis.WebAssembly;
    return does.logits(ids);
  },
  vectors: () => new engine.Network(model, buffer).layers[0].read.buffer.byteLength > 1 << 15,
  cells: () => Object.keys(engine.CELLS),
  logits: (ids) => {
    const network = new engine.Network(model, buffer);
    return ids.map((id) => [...network.step(id)]);
  },
  encoded: (texts) => {
    const { alphabet } = new engine.Writer(model, buffer);
    return texts.map((text) => alphabet.encode(text));
  },
  decoded: (ids) => {
    const decode = new engine.Writer(model, buffer).alphabet.decoder();
    return [...ids.map((id) => decode(id)), decode()].join("");
  },
  write: (asked) => {
    try {
      return [...new engine.Writer(model, buffer).write(asked)].join("");
    } catch (error) {
      return { error: error.message };
    }
  },
  uniforms: ({ seed, count }) => {
    const chance = new engine.Chance(seed);
    return Array.from({ length: count }, () => chance.uniform());
  },
  draws: ({ logits, temperature, uniforms }) =>
    uniforms.map((uniform) => engine.draw(logits, temperature, uniform)),
  halves: (halves) => [...engine.fromHalves(Uint16Array.from(halves))].map(String),
  rounded: (numbers) => numbers.map(engine.roundEven),
  speed: ({ count }) => {
    const writer = new engine.Writer(model, buffer);
    const asked = { prime: "", temperature: 0.8, length: count, seed: 1 };
    const started = performance.now();
    const text = [...writer.write(asked)].join("");
    return { text, perSecond: (count / (performance.now() - started)) * 1000 };
  },
};

/** Messages to the engine as the page sends them, each when so many answers have come. */
function served(steps) {
  const answers = [];
  const take = engine.serve((answer) => {
    answers.push(answer);
    proceed();
  });
  function proceed() {
    while (steps.length && steps[0].after <= answers.length) take(steps.shift().message);
    if (!steps.length && answers.at(-1)?.end) {
      console.log(JSON.stringify(answers));
      process.exit();
    }
  }
  take({ model, buffer });
  proceed();
}

const [[name, asked]] = Object.entries(request);
if (name === "served") served(asked);
else console.log(JSON.stringify(does[name](asked)));
