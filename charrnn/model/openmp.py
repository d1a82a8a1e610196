"""Loads torch with OpenMP threads that soon sleep while they wait for each other.

The threads of GNU's OpenMP spin for milliseconds at every meeting. Beside another busy program the
thread that they wait for often has no processor, and the one that spins takes it away. Sleeping
costs some microseconds; ``SPINS`` is so long that threads which all run hardly ever sleep.

Import this module before torch. Where torch was loaded earlier, or ``OMP_WAIT_POLICY`` or
``GOMP_SPINCOUNT`` is set, nothing changes.
"""

from __future__ import annotations

import importlib
import os
import sys

SPINS = 2_000  # some 20 microseconds
VARIABLE = "GOMP_SPINCOUNT"


def load_torch() -> None:
    """Import torch; OpenMP reads the number of spins meanwhile, and the environment stays as it is.

    Raises:
        ImportError: torch is not installed.

    """
    chosen = "torch" in sys.modules or VARIABLE in os.environ or "OMP_WAIT_POLICY" in os.environ
    if not chosen:
        os.environ[VARIABLE] = str(SPINS)
    try:
        importlib.import_module("torch")
    finally:
        if not chosen:
            del os.environ[VARIABLE]


load_torch()
