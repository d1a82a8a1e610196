"""Training windows as tensors on the network's device."""

from __future__ import annotations

import torch
from torch import Tensor

from charrnn.model.network import State, zeroed
from charrnn.text.streams import Position, Streams


class Windows:
    """The windows of ``streams``, on ``device``.

    If each window were copied to a GPU, every step would wait for its copy. So the whole text is
    copied once (in lines mode, once an epoch), and windows are gathered there, from a place that a
    captured step reads on the device.
    """

    def __init__(self, streams: Streams, device: torch.device) -> None:
        self.streams, self.device = streams, device
        # uint16, the type of a large vocabulary's ids, is known to few of torch's operators
        self._dtype = torch.uint8 if streams.symbol_bytes == 1 else torch.int32
        self._text = torch.empty(0, dtype=self._dtype, device=device)
        self._epoch: int | None = None
        self._places = torch.from_numpy(streams.places()).to(device)  # (B, T + 1)

    def at(self, position: Position) -> tuple[Tensor, Tensor]:
        """``x, y (B, T)`` int64: inputs and next characters at ``position``."""
        if self.device.type == "cpu":
            window = self.streams.at(position)
            return torch.from_numpy(window.x), torch.from_numpy(window.y)
        return self.gather(self.start(position))

    def begun(self, x: Tensor, state: State) -> State:
        """``state`` before a window ``x``: where it begins with a record, zeros, as in samples."""
        if self.streams.line_end is None:
            return state
        return zeroed(state, x[:, 0] == self.streams.line_end)

    def start(self, position: Position) -> int:
        """What ``gather`` needs for the window at ``position``; its text is then on the device."""
        epoch = position.epoch if self.streams.lines else 0
        if epoch != self._epoch:
            self._epoch = None
            self._fill(epoch)
            self._epoch = epoch
        return self.streams.start(position)

    def gather(self, start: int | Tensor) -> tuple[Tensor, Tensor]:
        """The same as ``at``, from the text on the device; ``start`` may be 0-dim and lie there."""
        places = (self._places + start) % self.streams.length
        window = self._text[places].long()
        return window[:, :-1].contiguous(), window[:, 1:].contiguous()

    def _fill(self, epoch: int) -> None:
        """Copy an epoch's text block by block: it is never in the computer's memory as a whole."""
        if not len(self._text):
            self._text = torch.empty(self.streams.length, dtype=self._dtype, device=self.device)
        place = 0
        for block in self.streams.blocks(epoch):
            self._text[place : place + len(block)] = torch.from_numpy(block.astype("int32"))
            place += len(block)
