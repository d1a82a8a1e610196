"""A trained model, ready to write text and to score it. Needs NumPy and never imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from charrnn.arguments import checked
from charrnn.checkpoint.corpus import Paths
from charrnn.checkpoint.file import Checkpoint
from charrnn.checkpoint.file import load as load_checkpoint
from charrnn.config import StateDtype, WeightDtype
from charrnn.errors import CorpusError, DecodingError
from charrnn.generation.scoring import Score
from charrnn.generation.writer import Writer
from charrnn.paths import BEST, LAST, find_checkpoint
from charrnn.settings import check_choice
from charrnn.text.decoding import BYTE_ORDER_MARK, decode_text, find_codec
from charrnn.text.kinds import HEAD, kind_of
from charrnn.text.splits import Range
from charrnn.text.vocab import Ids


@checked
class TextModel(Writer):
    """A checkpoint that is ready to write text and to score it.

    Args:
        checkpoint: the network and its vocabulary.
        path: the file it was loaded from, if any.
        weight_dtype: the number format of the recurrent weights for writing; scoring always uses
            float32.
        state_dtype: that of the states which int8 weights are multiplied with. Default: int8 for
            lines, of which people draw many, int16 for other texts.
        threads: how many threads write; the text does not depend on it. 0: at most two.

    Attributes:
        vocab: the vocabulary.
        meta: the free part of the checkpoint's metadata.
        reverse: whether the model reads from right to left, and writes what comes before.
        lines: whether the model was trained on records of one line each.
        records: how it reads them; None if it has none.

    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        path: Path | None = None,
        weight_dtype: WeightDtype = "int8",
        threads: int = 0,
        state_dtype: StateDtype | None = None,
    ) -> None:
        super().__init__(checkpoint, path, weight_dtype, threads, state_dtype)
        self.meta = checkpoint.meta

    def __repr__(self) -> str:
        model, of = self.checkpoint.config, f"a vocabulary of {len(self.vocab):,}"
        return f"<TextModel {self.name!r}: {model.cell} {model.layers} x {model.hidden}, {of}>"

    @property
    def name(self) -> str:
        """The name of the model's run, or of its file if that has a name of its own."""
        if self.path is None:
            return "model"
        if self.path.name not in (BEST, LAST):
            return self.path.stem
        return self.path.resolve().parent.name or self.path.stem

    def encoding(self, asked: str | None = None) -> str:
        """The encoding of texts for this model: ``asked``, or that of its corpus, or UTF-8.

        It is ``bytes`` for a model of bytes, whatever was asked for.

        Raises:
            CorpusError: there is no encoding called ``asked``.

        """
        if self.vocab.is_bytes and asked in (None, "bytes"):
            return "bytes"
        if asked is not None:
            find_codec(asked)
            return "bytes" if self.vocab.is_bytes else asked
        named = self.checkpoint.about("corpus").get("encoding")
        # an untrusted file may name anything
        return named if isinstance(named, str) and named not in ("", "bytes") else "utf-8"

    def read(self, raw: bytes, encoding: str | None = None) -> str | bytes:
        """Decode a text for ``sample`` and ``score``; ``encoding`` is as for ``encoding()``.

        A byte order mark is omitted unless it is in the vocabulary.

        Raises:
            CorpusError: there is no such encoding.
            DecodingError: the text is not in this encoding.

        """
        encoding = self.encoding(encoding)
        if encoding == "bytes":
            return raw
        text = decode_text(raw, encoding)
        self._check_wide(raw, text)
        marked = self.vocab.id_of(BYTE_ORDER_MARK) is not None
        return text if marked else text.removeprefix(BYTE_ORDER_MARK)

    def _check_wide(self, raw: bytes, text: str) -> None:
        """Refuse what decodes only because NUL is a character, if the vocabulary lacks it.

        Raises:
            DecodingError: the text is in an encoding of two or four bytes for a character.

        """
        if "\0" in text[:HEAD] and self.vocab.id_of("\0") is None:
            kind = kind_of(raw)
            if kind is not None and kind.encoding:
                place, values = raw.index(0), {"encoding": kind.encoding}
                message = f"the text has a NUL at byte {place}, it looks like {kind.name}"
                raise DecodingError(message, place, "set {encoding}", **values)

    def score_split(self, part: str, source: Paths | None = None, *, exact: bool = False) -> Score:
        """How well the model predicts the ``val`` or ``test`` part of its own corpus.

        Arguments and errors are those of ``part`` and of ``score``.
        """
        return self.score_ranges(*self.part(part, source), exact=exact)

    def part(self, part: str, source: Paths | None = None) -> tuple[Ids, tuple[Range, ...]]:
        """The ids ``(N,)`` of the model's own corpus, and the ranges of one of its parts.

        Args:
            part: ``train``, ``val`` or ``test``.
            source: the corpus as it was named for training: a file, a folder, a pattern or several
                of them. Default: the copy in the cache.

        Raises:
            ConfigError: there is no part of this name.
            CorpusError: the corpus was split without this part, is not available or is another
                text.
            CheckpointError: the checkpoint does not say how its corpus was split.

        """
        check_choice("part", part, ("train", "val", "test"))
        ids, parts = self.corpus(source)
        if not (ranges := parts.named(part)):
            name = self.checkpoint.about("corpus")["name"]
            raise CorpusError(f"{name} was split without a {part} part", "score a whole file")
        return ids, ranges


@checked
def load(
    path: str | Path | None = None,
    *,
    weight_dtype: WeightDtype = "int8",
    state_dtype: StateDtype | None = None,
    threads: int = 0,
) -> TextModel:
    """Load a trained model.

    Args:
        path: a checkpoint file, its folder or the name of a run. Default: the newest one under
            ``./checkpoints``, or the bundled ``tolstoy``.
        weight_dtype: the number format of the recurrent weights for writing: ``int8`` is fastest,
            ``float32`` is exact.
        state_dtype: that of the states which int8 weights are multiplied with: ``int8`` is faster
            for many texts at once. Default: int8 for lines, int16 for other texts.
        threads: how many threads write; the text does not depend on it. 0: at most two.

    Raises:
        CheckpointError: there is no such checkpoint, or it is not usable.
        ConfigError: ``weight_dtype`` or ``state_dtype`` is invalid, or they do not go together.

    """
    check_choice("weight_dtype", weight_dtype, get_args(WeightDtype))
    if state_dtype is not None:
        check_choice("state_dtype", state_dtype, get_args(StateDtype))
    found = find_checkpoint(path)
    return TextModel(load_checkpoint(found), found, weight_dtype, threads, state_dtype)
