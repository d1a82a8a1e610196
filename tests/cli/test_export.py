"""``charrnn export``: a file, its path, and what cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from charrnn.cli.output import save_file
from tests.support.command_line import RUN, Call

pytestmark = pytest.mark.usefixtures("a_run")


def test_the_command_writes_a_file_prints_its_path_and_says_its_size(call: Call) -> None:
    code, out, err = call("export", str(RUN), "page.html")
    size = Path("page.html").stat().st_size
    assert size < 1e5
    assert (code, out, err) == (0, "page.html\n", f"charrnn: page.html: {size / 1e3:.1f} kB\n")
    before = Path("page.html").read_bytes()
    assert call("export", "novel", "page.html", "-q") == (0, "page.html\n", "")
    assert Path("page.html").read_bytes() == before  # nothing in it is random


def test_a_pipe_without_a_name_is_written_by_its_descriptor() -> None:
    reading, writing = os.pipe()  # as /dev/stdout before a pipe
    save_file(Path(f"/dev/fd/{writing}"), b"a page")
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"a page"


@pytest.mark.parametrize(("args", "code", "said"), [
    (["novel", "page.pdf"], 2, "file is 'page.pdf': it must be a name that ends in .html ("),
    (["novel", "-"], 2, "file is '-': it must be a name that ends in .html ("),
    (["novel", "folder.html"], 2, "file is folder.html, a folder: name a file"),
    (["novel", "new/page.html"], 2, "file is new/page.html: there is no folder new; create it"),
    (["novel", "text/page.html"], 1, "cannot write to text/page.html: Not a directory"),
    (["nowhere", "page.html"], 2, "no checkpoint at nowhere"),
    (["link.html", "link.html"], 2, "file is link.html, the checkpoint itself; name another"),
])  # fmt: skip
def test_invalid_arguments_are_refused_in_one_line(
    args: list[str], code: int, said: str, call: Call
) -> None:
    Path("folder.html").mkdir()
    Path("text").touch()
    os.link(RUN / "best.safetensors", "link.html")
    before = Path("link.html").read_bytes()
    left = call("export", *args)
    assert (left.code, left.out, left.err.count("\n")) == (code, "", 1)
    assert said in left.err
    assert not Path("page.html").exists()
    assert Path("link.html").read_bytes() == before


def test_no_command_takes_weights_for_torch_for_a_checkpoint(call: Call) -> None:
    file = "novel.torch.safetensors"
    assert call("export", "novel", file, "-q") == (0, f"{file}\n", "")
    said = (
        f"charrnn: {file} has plain weights for torch: "
        "name the checkpoint that it was exported from\n"
    )
    for args in (["info", file], ["sample", file], ["export", file, f"again.{file}"]):
        assert call(*args) == (2, "", said)
