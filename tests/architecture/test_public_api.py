"""What others may build on: the public names, what they accept, and the error tree."""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import torch

import charrnn
from charrnn import errors
from tests.support.checkpoints import ROOT, tiny


def test_everything_in_all_is_there_and_documented() -> None:
    for name in charrnn.__all__:
        value = getattr(charrnn, name)
        assert name == "__version__" or inspect.getdoc(value), name


def test_all_names_what_the_facade_offers_and_nothing_else() -> None:
    assert set(charrnn.__all__) == {*charrnn._HOMES, "__version__"}
    assert set(dir(charrnn)) == set(charrnn.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        charrnn.nonsense  # noqa: B018


@pytest.mark.parametrize("name", sorted(set(charrnn.__all__) - {"__version__"}))
def test_public_names_are_charrnns_own(name: str) -> None:
    value = getattr(charrnn, name)
    assert value.__module__.startswith("charrnn.")


def test_a_sample_without_a_seed_is_another_each_time() -> None:
    model = charrnn.TextModel(tiny())
    assert len({model.sample(length=200) for _ in range(3)}) == 3
    assert len({model.sample(length=200, seed=None) for _ in range(3)}) == 3
    assert len({model.sample(length=200, seed=0) for _ in range(3)}) == 1


def test_one_sample_is_not_several() -> None:
    with pytest.raises(errors.ConfigError, match="count is not 1: sample writes one text"):
        charrnn.TextModel(tiny()).sample(count=3)


def test_a_sample_that_nothing_ends_is_refused() -> None:
    model = charrnn.TextModel(tiny())
    with pytest.raises(errors.ConfigError, match="length"):
        model.sample(length=0)
    with pytest.raises(errors.ConfigError, match="length is 0"):
        model.samples("", charrnn.SampleConfig(length=0))
    assert "e" not in model.sample(length=0, stop=("e",))
    assert "\n" not in model.sample(length=0, lines=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"preset": "nope"}, "preset is 'nope': it must be one of karpathy2015"),
        ({"device": "cuda"}, "device is 'cuda', which this machine"),
        (
            {"precision": "float16", "device": "cpu"},
            "precision is 'float16', which needs a CUDA GPU",
        ),
        (
            {"is_bytes": True, "encoding": "latin-1"},
            "is_bytes takes the text's bytes as they are; omit encoding",
        ),
        (
            {"start_from": "model", "hidden": 32},
            "start_from keeps the checkpoint's shape; omit hidden",
        ),
        (
            {"start_from": "model", "is_bytes": True},
            "start_from keeps the checkpoint's characters; omit is_bytes",
        ),
        (
            {"resume": True, "preset": "small"},
            "resume continues a run as it is; omit start_from and preset",
        ),
        ({"out": ""}, "out is empty"),
        ({"out": "text"}, "text is not a folder"),
        ({"max_bytes": 0}, "max_bytes is 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_train_refuses_is_named_as_python_calls_it(
    settings: dict[str, Any], said: str
) -> None:
    if settings.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("a GPU is here: asking for it is not refused")
    tiny().save("model", half=True)
    Path("text").write_text("the old prince\n" * 50)
    with pytest.raises(errors.ConfigError) as refused:
        charrnn.train("text", steps=1, **settings)
    assert str(refused.value).startswith(said)
    assert sorted(path.name for path in Path().iterdir()) == ["model", "text"]


def test_an_empty_path_is_not_the_current_folder() -> None:
    with pytest.raises(errors.CorpusError, match="path of the text is empty"):
        charrnn.train("", steps=1)
    with pytest.raises(errors.CheckpointError, match="path is empty"):
        charrnn.load("")


def test_a_misspelt_policy_is_refused() -> None:
    model = charrnn.TextModel(tiny())
    with pytest.raises(errors.ConfigError, match="unknown is 'Skip'"):
        model.score("the §§", unknown="Skip")  # type: ignore[arg-type]


def test_a_text_does_not_hide_the_run_that_has_its_name() -> None:
    tiny().save("checkpoints/novel/best.safetensors")
    Path("novel").write_text("the old prince\n")
    assert charrnn.load("novel").path == Path("checkpoints/novel/best.safetensors")
    tiny().save("other")
    assert charrnn.load("other").path == Path("other")


def test_the_trees_of_errors_and_signals_are_those_in_the_docstring() -> None:
    drawn = {}
    inherited = [1]
    for line in (inspect.getdoc(errors) or "").splitlines():
        match = re.match(r"^([ │├└─]*)(\w+)\s*(?:exit (\d+))?", line)
        if not match or not hasattr(errors, match[2]):
            continue
        depth = len(match[1]) // 4 - 1
        code = int(match[3]) if match[3] else inherited[depth]
        inherited[depth + 1 :] = [code]  # what those below inherit
        drawn[match[2]] = (depth, code)
    roots = errors.CharRNNError, errors.Interrupted
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, roots)
    }
    assert set(drawn) == set(classes)
    for name, (depth, code) in drawn.items():
        kind = classes[name]
        root = next(root for root in roots if issubclass(kind, root))
        assert kind.__mro__.index(root) == depth, name
        if root is errors.CharRNNError:
            assert kind.exit_code == code, name
    for signum, code in ((2, 130), (15, 143), (1, 129)):
        stopped = errors.Interrupted.by(signum)
        assert stopped.exit_code == code
        assert drawn[type(stopped).__name__][1] in (130, 143)


def test_a_signal_is_no_exception_but_what_python_makes_of_it() -> None:
    assert not issubclass(errors.Interrupted, Exception)
    assert isinstance(errors.Interrupted.by(2), KeyboardInterrupt)
    for signum in (1, 15):
        stopped = errors.Interrupted.by(signum)
        assert isinstance(stopped, SystemExit)
        assert stopped.code == 128 + signum


def test_every_public_function_of_the_facade_is_typed() -> None:
    assert (ROOT / "charrnn" / "py.typed").exists()
    for name in ("load", "train"):
        hints = inspect.signature(getattr(charrnn, name))
        assert hints.return_annotation is not inspect.Signature.empty


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", charrnn.__version__)
    with suppress(PackageNotFoundError):  # it may run from its folder
        assert version("charrnn-cli") == charrnn.__version__
