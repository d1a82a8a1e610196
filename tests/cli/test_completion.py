"""The shell completes checkpoints and choices."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shellingham

from charrnn.cli.completion import SHELLS
from charrnn.paths import BUNDLED
from charrnn.training.recipes import PRESETS
from tests.support.checkpoints import environment, tiny
from tests.support.command_line import Call, without_home

pytestmark = pytest.mark.usefixtures("a_run")


def test_completion_offers_checkpoints_and_choices(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny().save(Path("checkpoints/$(date)/best.safetensors"))  # a shell would run it
    monkeypatch.setenv("_CHARRNN_COMPLETE", "complete_bash")

    def offered(words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", f"charrnn {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split(" "))))
        code, out, err = call()
        assert (code, err) == (0, "")
        return out.split()

    runs = ["novel", *BUNDLED]
    for words in ("sample ", "info ", "score --model ", "train --from "):
        assert offered(words) == runs
    assert offered("sample wa") == ["war-and-peace"]
    assert offered("sample ./che") == []  # the shell then offers files
    assert offered("train --preset ") == list(PRESETS)
    assert offered("train --cell g") == ["gru"]
    assert offered("data get t") == ["tinyshakespeare"]


# what only the script of this shell has in it
MARKS = {
    "bash": "complete -o default -F",
    "zsh": "#compdef charrnn",
    "fish": "complete --command charrnn",
    "powershell": "Register-ArgumentCompleter",
    "pwsh": "Register-ArgumentCompleter",
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("inside", ["bash", "zsh"])
def test_the_script_of_the_shell_that_is_named_is_printed(
    shell: str, inside: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shellingham, "detect_shell", lambda: (inside, inside))
    for words in (["--show-completion", shell], [f"--show-completion={shell}"]):
        code, out, err = call(*words)
        assert (code, err) == (0, "")
        assert MARKS[shell] in out
    assert MARKS[inside] in call("--show-completion")[1]


def test_without_a_shell_it_says_how_to_name_one(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> None:
        raise shellingham.ShellDetectionFailure

    monkeypatch.setattr(shellingham, "detect_shell", none)
    for flag in ("--show-completion", "--install-completion"):
        said = f"charrnn: cannot tell which shell this is: name it, as in charrnn {flag} bash\n"
        assert call(flag) == (2, "", said)
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("ksh", "/bin/ksh"))
    wanted = f"charrnn: there is no completion for 'ksh', only for {', '.join(SHELLS)}\n"
    for words in ("--show-completion", "--show-completion ksh", "--install-completion=ksh"):
        assert call(*words.split()) == (2, "", wanted)


def test_completion_is_installed_for_the_shell_that_is_named(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    code, out, err = call("--install-completion", "fish")
    script = tmp_path / ".config/fish/completions/charrnn.fish"
    assert (code, out) == (0, "")
    assert err.startswith(f"charrnn: completion is installed in {script}; ")
    assert MARKS["fish"] in script.read_text()


@pytest.mark.parametrize("home", ["missing", "unknown"])
def test_without_a_home_nothing_is_installed(
    home: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_home(home, monkeypatch)
    said = (
        "charrnn: there is no home folder to install completion in: load in your shell what "
        "charrnn --show-completion bash prints\n"
    )
    assert call("--install-completion", "bash") == (2, "", said)
    assert not Path("/nonexistent").exists()


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_with_the_script_that_is_printed() -> None:
    program = f"""
charrnn() {{ "{sys.executable}" -m charrnn "$@"; }}
eval "$(charrnn --show-completion bash)"
COMP_WORDS=(charrnn sample nov); COMP_CWORD=2
_charrnn_completion charrnn
echo "${{COMPREPLY[@]}}"
"""
    # the script calls the program by its name, through env
    Path("charrnn").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m charrnn "$@"\n')
    Path("charrnn").chmod(0o755)
    path = f"{Path.cwd()}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", program], env=environment(PATH=path), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "novel\n", "")
