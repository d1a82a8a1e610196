"""Exported pages taken apart, and their engine in node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from charrnn.export.page import page
from charrnn.textmodel import TextModel

HARNESS = Path(__file__).with_name("page_in_node.js")


class Parts(HTMLParser):
    """What a browser finds in a page: its elements, and the texts of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[tuple[str, dict[str, str | None], str]] = []
        self.text = ""
        self._raw: list[str] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._raw = []

    def handle_endtag(self, tag: str) -> None:
        if self._raw is not None:
            name, attributes = self.elements[-1]
            self.blocks.append((name, attributes, "".join(self._raw)))
            self._raw = None

    def handle_data(self, data: str) -> None:
        if self._raw is not None:
            self._raw.append(data)
        else:
            self.text += data

    def block(self, name: str) -> str:
        """The text of the script with the id ``name``."""
        [found] = [text for _, attributes, text in self.blocks if attributes.get("id") == name]
        return found


def written(model: TextModel) -> str:
    """The page of a model."""
    return b"".join(page(model)).decode()


def in_node(model: TextModel, request: Mapping[str, Any]) -> Any:
    """The answer of the page's engine; skips the test where there is no node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, which runs the JavaScript of the page")
    path = Path("page.html")
    path.write_bytes(b"".join(page(model)))
    done = subprocess.run(
        [node, str(HARNESS), str(path)],
        input=json.dumps(request), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
