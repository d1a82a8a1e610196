"""Which device, which number format and how many threads a run uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError, counted
from charrnn.training.hardware.throughput import cpu_flags, matmul_throughput

# what a run gets done of the rate of one large product, validations and all: memory holds tiles
# back more than vectors; a GPU's part is a guess
PART_OF_TILES, PART_OF_VECTORS, PART_OF_FLOAT32, PART_OF_GPU = 0.27, 0.75, 0.5, 0.1
VOLTA = 7  # from here on a GPU multiplies float16 in units of its own

_PRODUCTS: Any = torch.backends.cudnn.rnn  # torch's own types do not know its attributes


@dataclass(frozen=True)
class Hardware:
    """A device and the type of its matrix products (None: float32 throughout)."""

    device: torch.device
    dtype: torch.dtype | None
    threads: int

    def describe(self) -> str:
        """Words for a report: ``cpu, bfloat16, 2 threads``."""
        name = str(self.device)
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        precision = str(self.dtype or torch.float32).removeprefix("torch.")
        threads = f", {counted(self.threads, 'thread')}" if self.device.type == "cpu" else ""
        return f"{name}, {precision}{threads}"


@contextmanager
def settings_of_torch() -> Iterator[None]:
    """What ``choose_hardware`` sets is after the block as it was before: a program may go on."""
    threads, products = torch.get_num_threads(), _PRODUCTS.fp32_precision
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _PRODUCTS.fp32_precision = products


def choose_hardware(config: TrainConfig) -> Hardware:
    """The hardware for ``config``: what it names, or for ``auto`` the best that there is.

    Tells torch of its threads, and cuDNN how exact float32 is to be.

    Raises:
        ConfigError: the device is not there, or cannot do that precision.

    """
    if config.threads:
        torch.set_num_threads(config.threads)
    device = _device(config.device)
    # cuDNN would round float32 products to TF32 unasked
    exact = config.precision == "float32"
    _PRODUCTS.fp32_precision = "ieee" if exact else "tf32"
    return Hardware(device, _dtype(config.precision, device), torch.get_num_threads())


def _device(name: str) -> torch.device:
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
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
            # cuDNN's persistent recurrent kernels take no other type (torch: cudnn/RNN.cpp)
            return torch.float16 if torch.cuda.get_device_capability(device)[0] >= VOLTA else None
        return torch.bfloat16 if device.type == "cpu" and _bfloat16_pays() else None
    if device.type == "mps":
        reason = f"is {precision!r}, which is untested on mps: omit it"
        raise ConfigError(reason, setting="precision")
    if precision == "float16" and device.type != "cuda":
        reason = f"is {precision!r}, which needs a CUDA GPU, not {device.type}"
        raise ConfigError(reason, "try bfloat16", setting="precision")
    return torch.bfloat16 if precision == "bfloat16" else torch.float16


def training_flops(hardware: Hardware) -> float:
    """About how many operations a second of its products a training run gets done there."""
    dtype = hardware.dtype or torch.float32
    if hardware.device.type != "cpu":
        return PART_OF_GPU * matmul_throughput(dtype, hardware.device)
    part = PART_OF_FLOAT32
    if dtype == torch.bfloat16:
        part = PART_OF_TILES if "amx_bf16" in cpu_flags() else PART_OF_VECTORS
    return part * matmul_throughput(dtype)


def _bfloat16_pays() -> bool:
    """Whether bfloat16 products are native here and faster: an old kernel may not let them be."""
    if not multiplies_bfloat16():
        return False
    return matmul_throughput(torch.bfloat16) > matmul_throughput(torch.float32)


def multiplies_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices natively (AMX or AVX512-BF16)."""
    return not cpu_flags().isdisjoint({"amx_bf16", "avx512_bf16"})
