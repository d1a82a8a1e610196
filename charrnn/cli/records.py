"""``sample --lines``: records that are accepted under conditions, and records with their nats."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from charrnn.cli.bar import Progress
from charrnn.cli.options import CORPUS
from charrnn.cli.output import Escape, TextWriter, is_escaped
from charrnn.errors import counted
from charrnn.generation.record_config import RecordConfig
from charrnn.generation.sample_config import SampleConfig
from charrnn.settings import Option, declared

if TYPE_CHECKING:
    from charrnn.generation.accepting import Record, Records

CONDITIONS = declared(RecordConfig)
NOVEL_CORPUS = CORPUS.replace(
    needs=("novel", "max_copy"),
    help="With --novel or --max-copy: corpus the network was trained on; may be repeated, in the "
    "order in which the files were named for train.",
)
TSV = Option(
    name="tsv",
    kind=bool,
    excludes=("json", "prime", "prime_file"),
    help="With --lines: print nats, characters and text of each record, with tabs between them.",
)


def conditions(settings: dict[str, Any]) -> RecordConfig | None:
    """Take the conditions out of ``settings``; None if there are none."""
    names = [option.name for option in CONDITIONS if option.name in settings]
    wanted = RecordConfig(**{name: settings.pop(name) for name in names})
    return wanted if wanted.given else None


def print_likely(records: Iterable[Record], json: bool, escape: Escape) -> None:
    """Print each record at once, as a JSON line or separated by tabs.

    Raises:
        CharRNNError: the tries are spent; what was found is printed.
        Interrupted: a signal arrived.

    """
    escaped = is_escaped(sys.stdout, escape)
    show = _as_json({}, escaped) if json else _as_row
    writer = TextWriter(sys.stdout, "never" if json else escape)
    try:
        for index, record in enumerate(records):
            writer.put(show(record, index, escaped))
            writer.end_sample(b"\n")
            writer.flush()
    finally:
        writer.end()


def print_records(
    records: Records,
    json: bool,
    tsv: bool,
    config: SampleConfig,
    escape: Escape,
    tell: Progress,
) -> None:
    """Print records as text, as JSON lines or separated by tabs, those drawn at once together.

    ``tell`` learns how many were printed.

    Raises:
        CharRNNError: the tries are spent before all are accepted; those accepted are printed.
        Interrupted: a signal arrived.

    """
    show = (
        _as_json({"seed": config.seed}, is_escaped(sys.stdout, escape))
        if json
        else _as_row
        if tsv
        else _as_text
    )
    index, terminal = 0, is_escaped(sys.stdout, escape)
    writer = TextWriter(sys.stdout, "never" if json else escape)
    try:
        for batch in records.batches():
            for record in batch:
                writer.put(show(record, index, terminal))
                writer.end_sample(b"\n")
                index += 1
            writer.flush()
            tell(index, f"{index:,} of {counted(config.count, 'record')}")
    finally:
        writer.end()


def _as_json(facts: dict[str, Any], escaped: bool) -> Callable[[Record, int, bool], bytes]:
    def show(record: Record, index: int, terminal: bool) -> bytes:
        values: dict[str, Any] = {"index": index, **facts, "text": record.text}
        if record.score is not None:
            values |= {"nats": record.score.nats, "chars": record.score.chars}
        return jsonlib.dumps(values, ensure_ascii=escaped).encode("utf-8", "surrogatepass")

    return show


def _as_row(record: Record, index: int, terminal: bool) -> bytes:
    from charrnn.console import one_line

    raw = one_line(record.text).encode() if terminal else record.raw
    assert record.score is not None
    return f"{record.score.nats:.4f}\t{record.score.chars}\t".encode() + raw


def _as_text(record: Record, index: int, terminal: bool) -> bytes:
    return record.raw
