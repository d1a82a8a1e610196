"""The device that this folder tests, and how its tests are marked.

``CHARRNN_TEST_DEVICE=cpu pytest tests/gpu`` makes the same assertions about the processor: it shows
that the tests themselves work.
"""

from __future__ import annotations

import os

import pytest
import torch

DEVICE = torch.device(os.environ.get("CHARRNN_TEST_DEVICE", "cuda"))
ON_GPU = DEVICE.type == "cuda"
# a processor trains in no float16
PRECISIONS = ("float32", "bfloat16", *(("float16",) if ON_GPU else ()))

on_device = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        ON_GPU and not torch.cuda.is_available(),
        reason="needs an NVIDIA GPU (CHARRNN_TEST_DEVICE=cpu tries the same on the processor)",
    ),
]
gpu_only = pytest.mark.skipif(not ON_GPU, reason="only a GPU is waited for")
