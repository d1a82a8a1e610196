"""How much memory a run takes: a formula with few numbers, fitted to the peaks of runs.

    memory = program + weights + work + saving

with P weights, B streams of T characters, L layers of H units, an embedding of E and V symbols:

    program  what torch, NumPy and compiled kernels take before a network exists
    weights  16 P: each with its gradient and two moments; 20 P if weights are averaged
    work     the larger of
               a step:        a · B T L H + 12 · B T V + 8 · B T E + 4 P
               a validation:  64 · 128 positions at a time in float32, b bytes for each unit
    saving   18 P + max(0, 26 P − work): two copies of what is kept and what is read back, partly
             in memory that the step has freed

``a``, the bytes kept for each unit at each position until the backward pass has used them, is
measured for each cell. The peaks are of anonymous memory on a processor with AVX512-BF16, of runs
of 2 to 12 steps with H from 64 to 1024, L 1 to 4, B 4 to 256 and T 16 to 512; all of them are
within a fifth of the formula (``tests/training/hardware/test_footprint.py``).

A GPU's memory need not hold what saving takes, and its work is different: the memory of a step
belongs to its CUDA graph, so that a validation, of 168 · 256 positions at a time, needs its own.

    work     a step:        (a L + c) · B T H + 12 · B T V + 8 · B T E + 24 P + 20 MiB
             a validation:  43,008 · H · b

``c`` is for one layer at a time. The numbers are those of 19 shapes on an H200, and together with
the weights within 14 % of each. What torch has freed and keeps for later comes on top: up to a
third more, as long as there is memory.
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
ON_GPU = 950 * MIB  # on the device: CUDA's context, and what cuBLAS keeps for two streams
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
VALIDATED, PER_VALIDATED = 64 * 128, 12  # positions at a time; bytes for each unit

# On a GPU: bytes for each unit at each position, of all layers and of one layer at a time.
CLUSTERS, CUDNN = (8, 22), (5, 25)
# of all layers, with 16 bits and with float32 (where it was not measured, twice as much)
GPU_PER_UNIT = {
    "lstm": (15, 38),
    "gru": (19, 42),
    "elman": (19, 38),
    "rnn-relu": (19, 38),
    "irnn": (19, 38),
    "scrn": (13, 9),
    "clockwork": (12, 24),
    "jordan": (7, 14),
}
GPU_STEP = 20 * MIB, 24  # whatever the sizes are; bytes of a weight
GPU_VALIDATED = 168 * 256
GPU_PER_VALIDATED = {
    "lstm": 26, "gru": 23, "elman": 16, "rnn-relu": 29, "irnn": 29, "scrn": 15, "clockwork": 13,
    "jordan": 8,
}  # fmt: skip
EXACT = (8, 11)  # of an LSTM that is validated in ``exact_lstm``, for each layer and besides


@dataclass(frozen=True)
class Footprint:
    """The most memory that a run takes, in bytes: all of it, and its parts.

    ``on_gpu`` says whether it is a GPU's memory.
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
    on = _on_cpu if hardware.device.type == "cpu" else _on_gpu
    return on(model, config, hardware, streams * config.window, validates)


def _on_cpu(
    model: ModelConfig, config: TrainConfig, hardware: Hardware, positions: int, validates: bool
) -> Footprint:
    layers, parameters = model.layers * len(model.stacks), model.parameters
    logits = min(positions * model.vocab_size, 2 * LOGITS)  # so many at a time (large_vocabulary)
    work = per_unit(model, hardware) * positions * layers * model.hidden + PER_LOGIT * logits
    work += PER_INPUT * positions * model.embedding + TYPED * parameters
    if validates:
        work = max(work, VALIDATED * PER_VALIDATED * min(layers, 2) * model.hidden)
    saving = SAVED * parameters + max(0, REUSED * parameters - work)
    own = hardware.dtype == torch.bfloat16 and model.definition.name in OUR_KERNELS
    program = WITH_OUR_KERNELS if own else PROGRAM
    return Footprint(program, _weights(model, config), work, saving)


def _on_gpu(
    model: ModelConfig, config: TrainConfig, hardware: Hardware, positions: int, validates: bool
) -> Footprint:
    (kept, passing), (fixed, per_weight) = gpu_per_unit(model, hardware), GPU_STEP
    units = (kept * model.layers * len(model.stacks) + passing) * model.hidden
    inputs = PER_LOGIT * model.vocab_size + PER_INPUT * model.embedding
    work = positions * (units + inputs) + per_weight * model.parameters + fixed
    if validates:
        work += GPU_VALIDATED * model.hidden * gpu_per_validated(model, hardware)
    return Footprint(ON_GPU, _weights(model, config), work, 0, on_gpu=True)


def _weights(model: ModelConfig, config: TrainConfig) -> int:
    return (PER_WEIGHT + PER_AVERAGED * bool(config.ema)) * model.parameters


def per_unit(model: ModelConfig, hardware: Hardware) -> int:
    """The bytes kept for each unit at each position on a CPU, until its gradient is known."""
    name = model.definition.name
    return PER_UNIT[name][hardware.dtype is None] if name in PER_UNIT else _by_gates(model)


def gpu_per_unit(model: ModelConfig, hardware: Hardware) -> tuple[int, int]:
    """The same on a GPU, for each layer, and what a layer needs besides while it is computed."""
    name, in_float32 = model.definition.name, hardware.dtype is None
    if name == "lstm" and not in_float32:
        return CLUSTERS if _in_clusters(model, hardware.device) else CUDNN
    return (GPU_PER_UNIT[name][in_float32] if name in GPU_PER_UNIT else _by_gates(model)), 0


def gpu_per_validated(model: ModelConfig, hardware: Hardware) -> int:
    """The bytes that a GPU needs for each unit at each position of a validation."""
    name, (each, besides) = model.definition.name, EXACT
    if name == "lstm" and _in_clusters(model, hardware.device):
        return each * model.layers * len(model.stacks) + besides
    return GPU_PER_VALIDATED.get(name) or _by_gates(model)


def _in_clusters(model: ModelConfig, device: torch.device) -> bool:
    known = device.type == "cuda" and model.hidden in SIZES
    return known and torch.cuda.get_device_capability(device) == CAPABILITY


def _by_gates(model: ModelConfig) -> int:
    rows = model.layer_shapes(0).get("weight_hh", (model.hidden,))[0]
    return PER_GATE * max(1, rows // model.hidden)
