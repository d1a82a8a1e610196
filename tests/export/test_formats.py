"""The table of formats, and files that are chosen by their suffix."""

from __future__ import annotations

from pathlib import Path

import pytest

import charrnn
from charrnn.errors import ConfigError
from charrnn.export.formats import FORMATS, Format, format_of
from tests.support.checkpoints import python, tiny


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.suffixes[0])
def test_a_suffix_in_either_case_means_its_format_alone(format: Format) -> None:
    for suffix in format.suffixes:
        assert suffix == suffix.lower()
        assert format_of(f"folder.x/file{suffix}") is format_of(f"A{suffix.upper()}") is format
        assert [other for other in FORMATS if suffix in other.suffixes] == [format]


@pytest.mark.parametrize("name", ["page", "page.htm", "-", ".html", "html", "page.html.gz",
                                  ".torch.safetensors", "best.safetensors", "a.torch"])  # fmt: skip
def test_another_suffix_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        charrnn.export_model(charrnn.TextModel(tiny()), name)
    for format in FORMATS:
        assert all(suffix in str(refused.value) for suffix in format.suffixes)
        assert format.description in str(refused.value)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("suffix", [each.suffixes[0] for each in FORMATS])
def test_an_older_file_is_replaced_but_not_the_checkpoint(suffix: str) -> None:
    file = Path(f"file{suffix}")
    file.write_bytes(b"\0 older")
    tiny().save(Path("best.safetensors"))
    assert charrnn.export_model(charrnn.load("best.safetensors"), file) == file
    assert b"\0 older" not in file.read_bytes()
    before = Path("best.safetensors").read_bytes()
    file.unlink()
    file.hardlink_to("best.safetensors")  # no checkpoint is read by a name of another format
    Path(f"link{suffix}").symlink_to(file)
    for name in (file, f"link{suffix}"):
        with pytest.raises(ConfigError, match="the checkpoint itself"):
            charrnn.export_model(charrnn.load("best.safetensors"), name)
    assert file.read_bytes() == before


def test_the_table_waits_for_neither_numpy_nor_torch() -> None:
    loaded = python("import sys, charrnn.export.formats; print(*sys.modules)").split()
    assert not {"torch", "numpy"} & set(loaded)
