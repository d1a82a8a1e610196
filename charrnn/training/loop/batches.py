"""Training windows as tensors, where the network is."""

from __future__ import annotations

import torch
from torch import Tensor

from charrnn.text.streams import Position, Streams


class Windows:
    """The windows of ``streams``; on another device than the CPU they are cut there.

    A window that is copied to a GPU makes the step wait for the copy, so the whole text goes there
    once, and again each epoch if its lines are drawn anew.
    """

    def __init__(self, streams: Streams, device: torch.device) -> None:
        self.streams, self.device = streams, device
        # few operators know the type that a large alphabet's numbers have
        self._dtype = torch.uint8 if streams.symbol_bytes == 1 else torch.int32
        self._text = torch.empty(0, dtype=self._dtype, device=device)
        self._epoch: int | None = None
        self._places = torch.from_numpy(streams.places()).to(device)  # (B, T + 1)

    def at(self, position: Position) -> tuple[Tensor, Tensor]:
        """``x, y (B, T)`` int64: inputs and next characters at ``position``."""
        if self.device.type == "cpu":
            window = self.streams.at(position)
            return torch.from_numpy(window.x), torch.from_numpy(window.y)
        return self.cut(position)

    def cut(self, position: Position) -> tuple[Tensor, Tensor]:
        """``at``, from the text on the device."""
        epoch = position.epoch if self.streams.lines else 0
        if epoch != self._epoch:
            self._epoch = None
            self._fill(epoch)
            self._epoch = epoch
        places = (self._places + self.streams.start(position)) % self.streams.length
        window = self._text[places].long()
        return window[:, :-1].contiguous(), window[:, 1:].contiguous()

    def _fill(self, epoch: int) -> None:
        """Copy an epoch's text block by block: in the computer's memory it never lies whole."""
        if not len(self._text):
            self._text = torch.empty(self.streams.length, dtype=self._dtype, device=self.device)
        place = 0
        for block in self.streams.blocks(epoch):
            self._text[place : place + len(block)] = torch.from_numpy(block.astype("int32"))
            place += len(block)
