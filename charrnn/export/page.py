"""A model as one web page that writes text by itself.

The page holds the engine in JavaScript (``web/``), the weights and the vocabulary. It needs no
other file and no network, and its security policy allows neither: nothing runs but the two scripts
of this room, whatever a checkpoint may say of itself.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import cells
from charrnn.errors import CheckpointError
from charrnn.export.symbols import cutting
from charrnn.export.weights import packed
from charrnn.generation.generator import first_id
from charrnn.generation.quantization import state_scale_for
from charrnn.insight.facts import facts
from charrnn.insight.markup import escaped
from charrnn.textmodel import TextModel

WEB = Path(__file__).with_name("web")
ENGINE = ("vectors.js", "engine.js", "symbols.js", "writer.js")
CELLS = ("lstm", "gru", "elman", "rnn-relu", "irnn")  # those in web/engine.js
MOST_WEIGHTS = 256 << 20  # a larger page would be too much for many browsers
LICENCE = 2000  # characters of a licence note that are shown, at most


def page(model: TextModel) -> Iterator[bytes]:
    """The page of ``model``, in parts.

    Raises:
        CheckpointError: the page's engine does not know such a network.

    """
    check_known(model)
    index, data = packed_quietly(model)
    style = _file("page.css")
    engine = "".join(map(_file, ENGINE))
    script = _file("page.js")
    policy = "; ".join((
        "default-src 'none'",
        f"script-src {_digest(engine)} {_digest(script)} 'wasm-unsafe-eval'",
        "worker-src blob:",
        f"style-src {_digest(style)}",
        "base-uri 'none'",
        "form-action 'none'",
    ))  # fmt: skip
    about = _json(described(model) | {"tensors": index})
    yield f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>{escaped(model.name)}</title>
<style>{style}</style>
</head>
<body>
{_body(model)}
<script type="application/json" id="model">{about}</script>
<script type="application/octet-stream" id="weights">""".encode()
    yield b64encode(data)
    yield f"""</script>
<script id="engine">{engine}</script>
<script>{script}</script>
</body>
</html>
""".encode()


def check_known(model: TextModel) -> None:
    """Check that the engine of the page knows the network of ``model``.

    Raises:
        CheckpointError: it does not.

    """
    config = model.checkpoint.config
    config.check_causal("write from left to right in a web page")
    if model.reverse:
        message = f"{model.name} reads from right to left: a web page cannot write with it"
        raise CheckpointError(message, "choose another network")
    if cells.get(config.cell).name not in CELLS:
        message = f"a web page cannot run the cell {config.cell}, only {', '.join(CELLS)}"
        raise CheckpointError(message, "choose another network")
    if config.parameters > MOST_WEIGHTS:
        message = f"a web page cannot hold {config.parameters:,} weights, only {MOST_WEIGHTS:,}"
        raise CheckpointError(message, "choose a smaller network")


def described(model: TextModel) -> dict[str, Any]:
    """What the engine needs to know besides the weights, as JSON values."""
    config, vocab, records = model.checkpoint.config, model.vocab, model.records
    # as in sampling: states are rounded to eight bits for lines, to sixteen for other texts
    scale = state_scale_for(config, "int8", "int8" if model.lines else "int16")
    return {
        "cell": cells.get(config.cell).name,
        "layers": config.layers,
        "hidden": config.hidden,
        "sumLayers": config.sum_layers,
        "stateScale": scale,
        "symbols": len(vocab),
        "codes": list(vocab.codes),
        "long": list(vocab.long),
        "cutting": cutting(vocab),
        "bytes": vocab.is_bytes,
        "first": first_id(vocab),
        "lines": records is not None,
        "lineEnd": None if records is None else records.line_end,
    }


def packed_quietly(model: TextModel) -> tuple[list[dict[str, Any]], bytes]:
    """``packed``, without warnings: weights of an untrusted file may overflow."""
    with np.errstate(all="ignore"):
        return packed(model.checkpoint)


def _body(model: TextModel) -> str:
    """The form, the place of the text, and what is known of the network."""
    records = model.records is not None
    licence = model.checkpoint.meta.get("licence")
    notes = [
        "The network invents what it writes. It runs inside this page, even offline, and nothing "
        "that you type leaves it.",
        *([licence[:LICENCE]] if isinstance(licence, str) else []),
        "Made with charrnn.",
    ]
    what, most, usual = ("Lines", 10_000, 10) if records else ("Length", 1_000_000, 1000)
    begin = "Beginning of each line" if records else "Beginning"
    return f"""<main>
<h1>{escaped(model.name)}</h1>
<p class="about">{escaped(facts(model.checkpoint))}</p>
<noscript><p>This page needs JavaScript.</p></noscript>
<form id="form">
<label for="prime">{begin} <span class="hint">(may be empty)</span></label>
<textarea id="prime" rows="2" spellcheck="false" autocapitalize="off"></textarea>
<div class="settings">
<label for="temperature">Temperature <output id="degree" for="temperature">0.80</output>
<input type="range" id="temperature" min="0" max="2" step="0.05" value="0.8"
 title="0 always takes the likeliest symbol; higher values are bolder"></label>
<label>{what} <input type="number" id="length" min="1" max="{most}" step="1" value="{usual}"
 required></label>
<label>Seed <input type="number" id="seed" min="0" max="9007199254740991" step="1"
 placeholder="random" title="The same seed writes the same text"></label>
</div>
</form>
<div class="bar">
<button id="write" form="form" autocomplete="off" disabled>Write</button>
<button id="stop" type="button" autocomplete="off" disabled>Stop</button>
<p id="status" role="status">Loading the network …</p>
</div>
<pre lang="" role="region" aria-label="Text" tabindex="0"><b id="shown"></b><span
 id="text"></span></pre>
</main>
<footer>
{"".join(f"<p>{escaped(note)}</p>" for note in notes)}
</footer>"""


def _file(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """``text`` as the source of a script or style that the security policy allows."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: dict[str, Any]) -> str:
    """``value`` as JSON in ASCII without "<", so that no text in it ends the block around it."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
