"""The picture of how runs learned."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from charrnn.insight.figures import COLORS, FORMATS
from charrnn.insight.learning import Across, read_runs
from charrnn.insight.learning_picture import _columns, learning_picture
from tests.support.curves import report, run_in

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

BEGINS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


def drawn(*folders: str, x: Across = "step", **more: Any) -> str:
    """The picture of runs as SVG, in which text is text."""
    return learning_picture(read_runs(folders), x, **more).decode()


def words(svg: str) -> list[str]:
    """All texts of a picture."""
    root = ET.fromstring(svg)
    return ["".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_reports_give_the_same_bytes(kind: str) -> None:
    run_in("run")
    one, other = (learning_picture(read_runs(["run"]), "step", True, kind) for _ in range(2))
    assert one == other
    assert one.startswith(BEGINS[kind])


@pytest.mark.parametrize(
    ("x", "axis", "at"),
    [
        ("step", "step", "after 300 steps"),
        ("chars", "characters read", "after 3,000 characters"),
        ("epoch", "epoch", "epochs"),
        ("time", "minutes of training", "after 30.0 minutes"),
    ],
)
def test_a_picture_names_its_axes_and_the_lowest_loss(x: Across, axis: str, at: str) -> None:
    run_in("novel")
    said = words(drawn("novel", x=x))
    assert {"novel", axis, "nats per character", "bits per character", "learning"} <= {*said}
    assert {"training", "validation"} <= {*said}
    [lowest] = [line for line in said if line.startswith("lowest: ")]
    assert re.fullmatch(r"lowest: 1\.2500 nats \(1\.8034 bits\) .*", lowest)
    assert lowest.endswith(at)
    assert "gradient" not in said
    assert "gradient" in words(drawn("novel", x=x, grad_norm=True))


def test_names_are_shown_as_they_are() -> None:
    names = ["$x_1$", "_hidden", "a&b <c>", "naïve $\\alpha$", "^{2}", "two words", "日本語"]
    for name in names:
        run_in(name)
    run_in("con\x1btrol\nname")
    run_in("x" * 200)
    said = words(drawn(*names, "con\x1btrol\nname", "x" * 200))
    assert {f"{name}  1.2500" for name in names} <= {*said}
    assert [line for line in said if line.startswith("con\\x1btrol")]
    assert [line for line in said if line.startswith("xxx") and "…" in line and len(line) < 50]
    assert "$x_1$" in words(drawn("$x_1$"))


@pytest.mark.parametrize(
    ("norms", "ticks"), [((0.2, 4.0), {"0.5", "1", "2"}), ((1e-3, 1e3), {"1", "1000"}),
                         ((1.0, 2.0), {"1", "1.5", "2"}), ((0.0, 2.0), {"0", "1", "2"}),
                         ((5e-324, 2.0), {"0", "1", "2"})],
)  # fmt: skip
def test_norms_have_a_logarithmic_scale_if_they_need_one(
    norms: tuple[float, float], ticks: set[str]
) -> None:
    less: dict[str, Any] = dict.fromkeys(("lr", "chars_per_second"))
    run_in("run", *(report(n + 1, grad_norm=norm, **less) for n, norm in enumerate(norms)))
    assert ticks <= {*words(drawn("run", grad_norm=True))}


def test_no_tick_is_written_as_a_formula() -> None:
    run_in("run", *(report(n, grad_norm=10.0**n, lr=1e-9 * n) for n in range(1, 9)))
    assert not [line for line in words(drawn("run", grad_norm=True)) if "math" in line]


@pytest.mark.parametrize("x", ["epoch", "time"])
def test_what_is_missing_is_left_out(x: Across) -> None:
    run_in("no-validation", *(report(n, val_nats=None) for n in range(1, 25)))
    said = words(drawn("no-validation", x=x))
    assert "training" in said
    assert "validation" not in said
    run_in("one", report(12))
    assert "validation" in words(drawn("one", x=x))
    less: dict[str, Any] = dict.fromkeys(("lr", "chars_per_second", "grad_norm", "train_nats"))
    run_in("few", *(report(n, **less) for n in (10, 20)))
    assert "learning" not in words(drawn("few", x=x, grad_norm=True))
    run_in("zero", *(report(n, grad_norm=0.0, lr=0.0) for n in (10, 20)))
    assert "gradient" in words(drawn("zero", x=x, grad_norm=True))
    nothing = dict.fromkeys(("train_nats", "val_nats"))
    run_in("silent", *(report(n, **nothing) for n in (10, 20)))
    assert "learning" in words(drawn("silent", x=x))


def test_many_runs_have_a_color_and_dashes_each_and_no_training_losses() -> None:
    names = [f"run {number}" for number in range(20)]
    for name in names:
        run_in(name)
    run_in("no validation", *(report(n, val_nats=None) for n in range(1, 25)))
    svg = drawn(*names, "no validation")
    said = words(svg)
    assert {f"{name}  1.2500" for name in names} <= {*said}
    assert {"no validation", "validation losses"} <= {*said}
    looks = set(re.findall(r'style="(fill: none[^"]*)"', svg))
    thick = {look for look in looks if "stroke-width: 1.8" in look}
    assert {color for look in thick for color in COLORS if color in look} == {*COLORS}
    assert len(thick) == 20
    # that of the run without validation alone
    assert svg.count("stroke-opacity: 0.75") == 1
    few = drawn(*names[:3])
    assert few.count("stroke-opacity: 0.75") == 3
    assert "validation (thick), its lowest (○), training (thin)" in words(few)


@pytest.mark.parametrize(
    ("widths", "columns"),
    [
        ([1.0], 1),
        ([1.0] * 8, 8),
        ([1.0] * 9, 5),
        ([3.0, 3.0, 3.0], 2),
        ([9.0, 1.0], 1),
        ([2.0] * 20, 4),
    ],
)
def test_a_legend_is_as_wide_as_fits(widths: list[float], columns: int) -> None:
    assert _columns(widths) == columns


def test_no_state_of_matplotlib_is_left_changed() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    run_in("run")
    drawn("run")
    assert dict(matplotlib.rcParams) == before
