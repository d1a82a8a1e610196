"""How much memory a run takes: a formula with few numbers, fitted to the peaks of runs.

    memory = program + weights + work + saving

with P weights, B streams of T characters, L layers of H units, an embedding of E and V symbols:

    program  what torch, NumPy and compiled kernels take before a network exists
    weights  16 P: each with its gradient and two moments; 20 P if weights are averaged
    work     the larger of
               a step:        a · B T L H + 12 · B T V + 8 · B T E + 4 P
               a validation:  64 · 128 positions at a time in float32, b bytes for each unit
    saving   18 P + max(0, 26 P − work): two copies of what is kept and what is read back, partly
             in memory that the step has freed; 0 on a GPU, whose memory it does not need

``a``, the bytes kept for each unit at each position until the backward pass has used them, is
measured for each cell. The peaks are of anonymous memory on a processor with AVX512-BF16, of runs
of 2 to 12 steps with H from 64 to 1024, L 1 to 4, B 4 to 256 and T 16 to 512; all of them are
within a fifth of the formula (``tests/training/hardware/test_footprint.py``). For a GPU the numbers
are those of one measured step of 3 x 512 on an H200; there the formula is a computation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from charrnn.config import ModelConfig, TrainConfig
from charrnn.model.kernels.cuda.cluster_lstm import CAPABILITY, SIZES
from charrnn.model.large_vocabulary import LOGITS
from charrnn.model.layers import OUR_KERNELS
from charrnn.training.hardware.device import Hardware

MIB = 1 << 20
# what the program takes on a CPU; compiling the kernels, the first time, takes 50 MiB more
PROGRAM, WITH_OUR_KERNELS = 152 * MIB, 188 * MIB
ON_GPU = 500 * MIB  # CUDA's context and its libraries, on the device
PER_WEIGHT, PER_AVERAGED, TYPED = 16, 4, 4  # bytes of a weight; of copies in another type
SAVED, REUSED = 18, 26  # bytes a weight that saving takes; that it takes where a step left none
PER_LOGIT, PER_INPUT = 12, 8
# bytes for each unit at each position, with bfloat16 products and with float32 ones
PER_UNIT = {
    "lstm": (21, 78),
    "gru": (27, 46),
    "elman": (10, 20),
    "rnn-relu": (10, 20),
    "irnn": (10, 20),
    "scrn": (30, 28),
    "clockwork": (24, 33),
    "jordan": (18, 21),
}
PER_GATE = 32  # of other cells, for each of its gates
CLUSTERS, CUDNN, CUDNN_FLOAT32 = 10, 33, 66  # on a GPU
VALIDATED, PER_VALIDATED = 64 * 128, 12  # positions at a time; bytes for each unit


@dataclass(frozen=True)
class Footprint:
    """The most memory that a run takes, in bytes: all of it, and its parts.

    ``on_gpu`` says whether it is a GPU's memory, and computed rather than fitted.
    """

    program: int
    weights: int
    work: int
    saving: int
    on_gpu: bool = False

    @property
    def total(self) -> int:
        """All parts together."""
        return self.program + self.weights + self.work + self.saving


def footprint(
    model: ModelConfig, config: TrainConfig, hardware: Hardware, streams: int, validates: bool
) -> Footprint:
    """The memory of a process that trains ``model`` on ``streams`` of the batch."""
    on_gpu, parameters = hardware.device.type != "cpu", model.parameters
    weights = (PER_WEIGHT + PER_AVERAGED * bool(config.ema)) * parameters
    work = _step(model, config, hardware, streams)
    if validates:
        layers = model.layers * len(model.stacks)
        work = max(work, VALIDATED * PER_VALIDATED * min(layers, 2) * model.hidden)
    if on_gpu:
        return Footprint(ON_GPU, weights, work, 0, on_gpu)
    own = hardware.dtype == torch.bfloat16 and model.definition.name in OUR_KERNELS
    saving = SAVED * parameters + max(0, REUSED * parameters - work)
    return Footprint(WITH_OUR_KERNELS if own else PROGRAM, weights, work, saving)


def _step(model: ModelConfig, config: TrainConfig, hardware: Hardware, streams: int) -> int:
    """The bytes of a step besides those of the weights."""
    positions, layers = streams * config.window, model.layers * len(model.stacks)
    logits = positions * model.vocab_size
    if hardware.device.type == "cpu":  # only so many at a time (``large_vocabulary``)
        logits = min(logits, 2 * LOGITS)
    return (
        per_unit(model, hardware) * positions * layers * model.hidden
        + PER_LOGIT * logits
        + PER_INPUT * positions * model.embedding
        + TYPED * model.parameters
    )


def per_unit(model: ModelConfig, hardware: Hardware) -> int:
    """The bytes kept for each unit at each position, until its gradient is known."""
    cell, in_float32 = model.definition, hardware.dtype is None
    if hardware.device.type == "cuda" and cell.name == "lstm":
        device = torch.cuda.get_device_capability(hardware.device)
        if not in_float32 and model.hidden in SIZES and device == CAPABILITY:
            return CLUSTERS
        return CUDNN_FLOAT32 if in_float32 else CUDNN
    if cell.name in PER_UNIT:
        return PER_UNIT[cell.name][in_float32]
    rows = model.layer_shapes(0).get("weight_hh", (model.hidden,))[0]
    return PER_GATE * max(1, rows // model.hidden)
