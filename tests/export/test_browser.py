"""The exported page in a browser, opened from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import charrnn
from tests.export.browser import Browser
from tests.export.pages import in_node, written
from tests.export.test_page import hostile
from tests.support.checkpoints import tiny

pytestmark = pytest.mark.long  # a browser takes seconds to start

STATUS, TEXT = "document.getElementById('status').textContent", "document.querySelector('pre')"
# browsers in which the page must do without a worker: none at all, and one that is refused late
WORKERS = {
    "worker": "",
    "none": "delete window.Worker",
    "refused": "window.Worker = class { constructor() { setTimeout(() => this.onerror()) } "
    "postMessage() {} }",
}


def filled(**fields: Any) -> str:
    """JavaScript that fills fields of the form."""
    lines = (f"document.getElementById('{name}').value = '{v}'" for name, v in fields.items())
    return "; ".join(lines)


@pytest.mark.parametrize("worker", WORKERS)
def test_a_page_writes_what_its_engine_writes(worker: str, tmp_path: Path) -> None:
    model = charrnn.TextModel(tiny())
    asked = {"prime": "ab", "temperature": 1, "length": 300, "seed": 7}
    text = in_node(model, {"write": asked})  # makes page.html
    with Browser(tmp_path / "profile") as browser:
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=WORKERS[worker])
        browser.open(Path("page.html"))
        labels = "[...document.querySelectorAll('label')].map((label) => label.control.id)"
        assert browser.value(labels) == ["prime", "temperature", "length", "seed"]
        browser.value(filled(**asked))
        browser.value("document.getElementById('prime').focus()")
        browser.press("Enter", ctrl=True)
        browser.until(f"{STATUS}.startsWith('300 characters, ')")
        assert browser.value(f"{TEXT}.textContent") == f"ab{text}"
        assert browser.value(STATUS).endswith(" a second, seed 7.")
        assert browser.complaints == []
        kinds = {url.split(":")[0] for url in browser.requests}
        assert kinds == ({"file", "blob"} if worker == "worker" else {"file"})


def test_a_long_text_is_in_blocks_of_whole_lines(tmp_path: Path) -> None:
    model = charrnn.TextModel(tiny())
    asked = {"prime": "ab", "temperature": 1, "length": 40_000, "seed": 7}
    text = in_node(model, {"write": asked})
    with Browser(tmp_path / "profile") as browser:
        browser.open(Path("page.html"))
        browser.value(filled(**asked) + "; document.getElementById('write').click()")
        browser.until(f"{STATUS}.startsWith('40,000 characters, ')")
        assert browser.value(f"{TEXT}.textContent") == f"ab{text}"
        parts = "[...document.getElementById('text').children]"
        blocks = browser.value(f"{parts}.map((part) => part.textContent)")
        assert len(blocks) >= 5
        assert all(block.endswith("\n") for block in blocks[:-1])
        assert max(map(len, blocks)) < 8000
        assert browser.value(f"{TEXT}.innerText").rstrip("\n").count("\n") >= text.count("\n") - 2
        shown = f"{parts}.map((part) => getComputedStyle(part).display)"
        assert set(browser.value(shown)[1:]) == {"block"}


def test_a_text_is_stopped_and_another_begun_by_keys_and_buttons(tmp_path: Path) -> None:
    Path("page.html").write_text(written(charrnn.TextModel(tiny())))
    with Browser(tmp_path / "profile") as browser:
        browser.open(Path("page.html"))
        browser.value(
            filled(length=1_000_000, seed=3) + "; document.getElementById('write').click()"
        )
        browser.until(f"{TEXT}.textContent.length > 100")
        browser.press("Escape")
        browser.until(f"{STATUS}.startsWith('Stopped: ')")
        first = browser.value(f"{TEXT}.textContent")
        browser.value("document.getElementById('write').click()")
        browser.until(f"{TEXT}.textContent.length > 50")
        browser.value("document.getElementById('stop').focus()")
        browser.value("document.getElementById('stop').click()")
        browser.until(f"{STATUS}.startsWith('Stopped: ')")
        again = browser.value(f"{TEXT}.textContent")
        assert first.startswith(again) or again.startswith(first)
        assert browser.value("document.activeElement.id") == "write"
        browser.value(filled(prime="é") + "; document.getElementById('write').click()")
        browser.until(f"{STATUS}.includes('“é” (U+00E9)')")
        assert browser.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_a_telephone_and_follows_its_colors(scheme: str, tmp_path: Path) -> None:
    Path("page.html").write_text(written(hostile()))
    with Browser(tmp_path / "profile") as browser:
        sizes = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        browser.call("Emulation.setDeviceMetricsOverride", **sizes)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", features=features)
        browser.open(Path("page.html"))
        browser.value(filled(length=200) + "; document.getElementById('write').click()")
        browser.until(f"{STATUS}.includes(' characters, ')")
        assert browser.value("document.documentElement.scrollWidth") == 360
        paper = browser.value("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        # nothing that the checkpoint or its text says became an element or ran
        assert browser.value("document.images.length") == 0
        assert browser.value("document.scripts.length") == 3
        assert browser.complaints == []
