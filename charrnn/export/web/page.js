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

  function show(piece) {
    const following = follow();
    text.lastChild.appendData(piece);
    if (text.lastChild.length > 5000) text.append(""); // adding to a long one is slow
    if (following) scrollTo(0, document.documentElement.scrollHeight);
  }

  function result({ count, seconds, stopped }) {
    const speed = Math.round(count / Math.max(seconds, 0.001)).toLocaleString("en");
    const facts = `${count.toLocaleString("en")} characters, ${speed} a second, seed ${chosen}.`;
    return stopped ? `Stopped: ${facts}` : facts;
  }

  function finish(message) {
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
    text.replaceChildren("");
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
