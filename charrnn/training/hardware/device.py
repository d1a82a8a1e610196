"""Which device, which number format and how many threads a run uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from charrnn.cells import Cell
from charrnn.config import TrainConfig
from charrnn.errors import ConfigError, counted
from charrnn.model.layers import OUR_KERNELS
from charrnn.model.torch_private import RECURRENT_LAYERS
from charrnn.training.hardware.threads import (
    is_dynamic,
    note_start,
    set_dynamic,
    share_of_cores,
    thread_limit,
)
from charrnn.training.hardware.throughput import cpu_flags, matmul_throughput

# The throughput of a whole run, validations included, as a part of that of one large product.
# Memory holds AMX tiles back more than AVX512 vectors. The GPU's is that of 2 x 512 and 3 x 512 on
# an H200; 3 x 1024 reaches twice as much.
AMX_UTILIZATION, AVX512_UTILIZATION, FLOAT32_UTILIZATION, GPU_UTILIZATION = 0.27, 0.75, 0.5, 0.2
# What other cells reach of an LSTM's throughput on a CPU, by what runs them (checkpoints/README.md,
# "Cells compared"; in float32 charrnn/cells/README.md).
TORCH_BFLOAT16, READABLE_BFLOAT16, READABLE_FLOAT32 = 0.4, 0.25, 0.65
VOLTA = 7  # the first compute capability with tensor cores for float16

_CUDNN_RNN: Any = torch.backends.cudnn.rnn  # torch's type stubs lack its attributes


@dataclass(frozen=True)
class Hardware:
    """A device, the number format of its matrix products (None: float32) and its CPU threads."""

    device: torch.device
    dtype: torch.dtype | None
    threads: int

    def describe(self) -> str:
        """A description for the user: ``cpu, bfloat16, 2 threads``."""
        name = str(self.device)
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        precision = str(self.dtype or torch.float32).removeprefix("torch.")
        threads = f", {counted(self.threads, 'thread')}" if self.device.type == "cpu" else ""
        return f"{name}, {precision}{threads}"


@contextmanager
def own_torch_settings() -> Iterator[None]:
    """In the block torch has the settings that charrnn expects; after it, those of before.

    Gradients are recorded, new tensors are float32 and on the CPU, nothing is cast automatically.
    What ``choose_hardware`` sets is restored, too.
    """
    threads, products = torch.get_num_threads(), _CUDNN_RNN.fp32_precision
    dtype, dynamic = torch.get_default_dtype(), is_dynamic()
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        torch.set_default_dtype(torch.float32)
        try:
            _ask_for(threads)
            yield
        finally:
            torch.set_num_threads(threads)
            set_dynamic(dynamic)
            _CUDNN_RNN.fp32_precision = products
            torch.set_default_dtype(dtype)


@contextmanager
def exact_products() -> Iterator[None]:
    """Within the block cuDNN does not round the factors of float32 products to TF32."""
    before = _CUDNN_RNN.fp32_precision
    _CUDNN_RNN.fp32_precision = "ieee"
    try:
        yield
    finally:
        _CUDNN_RNN.fp32_precision = before


def choose_hardware(config: TrainConfig, number: int = 0, processes: int = 1) -> Hardware:
    """The hardware that ``config`` names, or for ``auto`` the best of this machine.

    Sets torch's number of threads, and how exact cuDNN's float32 products are. Of several
    ``processes`` that train on this machine, each has its share of the cores, or a GPU for itself;
    ``number`` says which.

    Raises:
        ConfigError: the machine lacks the device, or the device cannot use that precision.

    """
    _ask_for(config.threads or share_of_cores(processes))
    device = _device(config.device, processes)
    if device.type == "cuda" and processes > 1:
        if (gpus := torch.cuda.device_count()) < processes:
            reason = f"is {config.device!r}: {counted(gpus, 'GPU')} for {processes:,} processes"
            raise ConfigError(reason, "launch one for each GPU", setting="device")
        torch.cuda.set_device(number)
    # by default cuDNN rounds the factors of float32 products to TF32
    exact = config.precision == "float32"
    _CUDNN_RNN.fp32_precision = "ieee" if exact else "tf32"
    return Hardware(device, _dtype(config.precision, device), torch.get_num_threads())


def _ask_for(threads: int) -> None:
    """Let torch ask for so many threads, or for as many as OpenMP surely starts."""
    set_dynamic(False)
    granted = min(threads, thread_limit())
    if granted != torch.get_num_threads():
        torch.set_num_threads(granted)
    if granted > 1:
        note_start()


def _device(name: str, processes: int) -> torch.device:
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available() and processes == 1,
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, here in there.items() if here))
    if not there[name]:
        reason = f"is {name!r}, which this machine or this build of torch lacks"
        raise ConfigError(reason, "set {device} to auto", setting="device")
    return torch.device(name)


def _dtype(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "float32":
        return None
    if precision == "auto":
        if device.type == "cuda":
            # more exact than bfloat16 at the same speed; cuDNN's persistent recurrent kernels
            # accept no other type (torch: cudnn/RNN.cpp)
            return torch.float16 if torch.cuda.get_device_capability(device)[0] >= VOLTA else None
        return torch.bfloat16 if device.type == "cpu" and _bfloat16_pays() else None
    if device.type == "mps":
        reason = f"is {precision!r}, which is untested on mps: omit it"
        raise ConfigError(reason, setting="precision")
    if precision == "float16" and device.type != "cuda":
        reason = f"is {precision!r}, which needs a CUDA GPU, not {device.type}"
        raise ConfigError(reason, "try bfloat16", setting="precision")
    return torch.bfloat16 if precision == "bfloat16" else torch.float16


def training_flops(hardware: Hardware, cell: Cell) -> float:
    """An estimate of the operations a second that training ``cell`` achieves, products only."""
    dtype = hardware.dtype or torch.float32
    if hardware.device.type != "cpu":
        return GPU_UTILIZATION * matmul_throughput(dtype, hardware.device)
    utilization = FLOAT32_UTILIZATION
    if dtype == torch.bfloat16:
        utilization = AMX_UTILIZATION if "amx_bf16" in cpu_flags() else AVX512_UTILIZATION
    return _share_of_lstm(cell, dtype) * utilization * matmul_throughput(dtype)


def _share_of_lstm(cell: Cell, dtype: torch.dtype) -> float:
    """What ``cell`` reaches on a CPU of the throughput of an LSTM in ``dtype``."""
    is_short = dtype == torch.bfloat16  # in which our kernels run the LSTM
    if cell.name not in RECURRENT_LAYERS:
        return READABLE_BFLOAT16 if is_short else READABLE_FLOAT32
    return TORCH_BFLOAT16 if is_short and cell.name not in OUR_KERNELS else 1.0


def _bfloat16_pays() -> bool:
    """Whether bfloat16 products are native here, and faster: an old Linux may keep AMX disabled."""
    if not multiplies_bfloat16():
        return False
    return matmul_throughput(torch.bfloat16) > matmul_throughput(torch.float32)


def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices natively (AMX or AVX512-BF16)."""
    return not cpu_flags().isdisjoint({"amx_bf16", "avx512_bf16"})
