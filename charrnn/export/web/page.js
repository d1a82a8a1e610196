"use strict";
// What a person sees: the form, the text as it comes, and the worker that writes it.

(() => {
  const named = (id) => document.getElementById(id);
  const [form, prime, temperature, length, seed] =
    ["form", "prime", "temperature", "length", "seed"].map(named);
  const [stop, shown, text, status] = ["stop", "shown", "text", "status"].map(named);
  const model = JSON.parse(named("model").textContent);

  /** The bytes of the weights, which the page then no longer keeps as text. */
  function weights() {
    const block = named("weights"), characters = atob(block.textContent);
    block.remove();
    const bytes = new Uint8Array(characters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
    return bytes.buffer;
  }

  /** A function that sends messages to the engine: in a worker, or here where there is none. */
  function open(receive) {
    const buffer = weights();
    let take = null;

    function here() {
      take = serve(receive);
      take({ model, buffer });
    }

    try {
      const source = `${named("engine").textContent}
        const take = serve((message) => postMessage(message));
        onmessage = (event) => take(event.data);`;
      const worker = new Worker(URL.createObjectURL(new Blob([source])));
      let ready = false;
      worker.onmessage = (event) => {
        ready ||= event.data.ready;
        receive(event.data);
      };
      worker.onerror = () => { // some browsers refuse a worker only now
        if (ready) receive({ run, end: true, error: "The engine stopped: reload the page." });
        else here();
      };
      take = (message) => worker.postMessage(message);
      take({ model, buffer });
    } catch {
      here();
    }
    return (message) => take(message);
  }

  const follow = () => {
    const { scrollHeight, clientHeight, scrollTop } = document.documentElement;
    return scrollHeight - clientHeight - scrollTop < 80;
  };

  let run = 0; // the number of the text on the page
  let chosen = 0; // its seed
  let writing = false;
  const send = open((message) => {
    if (message.ready) return begin();
    if (message.run !== run) return; // of a text before
    if (message.piece) show(message.piece);
    if (message.end) finish(message.error ?? result(message));
  });

  function begin() {
    named("write").disabled = false;
    status.textContent = "Ready.";
  }

  // Browsers lay out the whole block that text is added to. So a long text is in several blocks,
  // and the more time they take to show it, the less often it is shown.
  const LONG = 5000, REST = 4; // characters; times as long as showing took, for everything else
  let waiting = "", timer = 0, rest = 0;

  function show(piece) {
    waiting += piece;
    timer ||= setTimeout(showAll, rest);
  }

  function showAll() {
    const started = performance.now(), following = follow();
    clearTimeout(timer);
    add(waiting);
    [waiting, timer] = ["", 0];
    const { scrollHeight } = document.documentElement; // lays out the page
    if (following) scrollTo(0, scrollHeight);
    rest = REST * (performance.now() - started);
  }

  /** Adds a text; where the last block is long, a line begins another. */
  function add(piece) {
    for (const line of piece.match(/[^\n]*\n|[^\n]+/g) ?? []) {
      const { data, length } = text.lastChild.lastChild;
      if (length > LONG) {
        if (data.endsWith("\n")) text.append(document.createElement("span"));
        text.lastChild.append(""); // adding to a long text node is slow
      }
      text.lastChild.lastChild.appendData(line);
    }
  }

  function clear() {
    waiting = "";
    const first = document.createElement("span"); // goes on in the last line of the beginning
    first.append("");
    text.replaceChildren(first);
  }

  function result({ count, seconds, stopped }) {
    const speed = Math.round(count / Math.max(seconds, 0.001)).toLocaleString("en");
    const facts = `${count.toLocaleString("en")} characters, ${speed} a second, seed ${chosen}.`;
    return stopped ? `Stopped: ${facts}` : facts;
  }

  function finish(message) {
    showAll();
    writing = false;
    status.textContent = message;
    text.setAttribute("aria-busy", "false");
    if (document.activeElement === stop) named("write").focus();
    stop.disabled = true;
  }

  function write(event) {
    event.preventDefault();
    if (named("write").disabled) return;
    chosen = seed.value === "" ? Math.floor(Math.random() * 1e6) : Number(seed.value);
    writing = true;
    run += 1;
    const beginning = prime.value;
    shown.textContent = model.lines ? beginning.split("\n").pop() : beginning;
    clear();
    text.setAttribute("aria-busy", "true");
    stop.disabled = false;
    status.textContent = `Writing, seed ${chosen}.`;
    send({ run, write: {
      prime: beginning,
      temperature: Number(temperature.value),
      length: Number(length.value),
      seed: chosen,
    } });
  }

  form.addEventListener("submit", write);
  stop.addEventListener("click", () => send({ stop: true }));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && writing) send({ stop: true });
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  const say = () => { named("degree").textContent = Number(temperature.value).toFixed(2); };
  temperature.addEventListener("input", say);
  say();
})();
