"""How the program begins and how it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn import __version__
from charrnn.cli.app import COMMANDS
from tests.support.checkpoints import ROOT, charrnn, environment, tiny
from tests.support.command_line import BEST, Call
from tests.support.networks import letters

pytestmark = pytest.mark.usefixtures("a_run")


def test_no_traceback_unless_asked_for() -> None:
    assert b"Traceback" not in charrnn("info", "nowhere").stderr
    assert b"Traceback" in charrnn("info", "nowhere", CHARRNN_DEBUG="1").stderr


def test_utf8_whatever_the_locale() -> None:
    tiny(letters("Grüße ")).save(BEST)
    args = ["sample", "novel", "--seed", "1", "--length", "9", "--prime", "Grüße"]
    wanted = charrnn(*args, LC_ALL="C.UTF-8").stdout
    done = charrnn(*args, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.returncode, done.stdout) == (0, wanted), done.stderr
    assert done.stdout.startswith("Grüße".encode())
    stopped = charrnn(*args, "--stop", "ü", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert stopped.returncode == 0, stopped.stderr
    assert "ü" not in stopped.stdout.decode().removeprefix("Grüße")
    assert wanted.startswith(stopped.stdout.rstrip(b"\n"))


def test_version_prints_one_line(call: Call) -> None:
    assert call("--version") == (0, f"charrnn {__version__}\n", "")


def test_ctrl_c_while_the_commands_are_imported_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    command = [sys.executable, "-m", "charrnn", "--help"]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(command, env=environment(PYTHONPATH=path), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("args", [["train", "text.txt"], ["score", "text.txt", "--adapt"]])
def test_without_torch_it_says_what_to_install(args: list[str]) -> None:
    Path("text.txt").write_text("abcabc" * 100)
    Path("fake").mkdir()
    Path("fake/torch.py").write_text("raise ModuleNotFoundError('none', name='torch')")
    done = charrnn(*args, PYTHONPATH=f"{Path('fake').absolute()}:{ROOT}")
    assert done.returncode == 1
    assert done.stderr.endswith(b"needs torch, which is not installed: pip install torch\n")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_torchrun_is_refused_once_for_commands_of_one_process(
    name: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for variable, value in (meeting | {"TORCHELASTIC_RUN_ID": "none"}).items():
        monkeypatch.setenv(variable, value)
    said = (
        f"charrnn: torchrun starts several processes, and charrnn {name} runs in one: start it "
        "without torchrun, which is for charrnn train\n"
    )
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        assert call(name, "--help") == (2, "", "" if rank else said)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")  # another launcher's variables, or a container's
    assert call(name, "--help").code == 0
