"""Compiles kernels for this processor and caches the machine code. Needs llvmlite.

Compiled code is kept in the cache folder (``charrnn.paths.cache_folder``). Its name is a hash of
everything that it depends on, and another hash checks its content. A cache that cannot be written
or is invalid costs a compilation in every process (a third of a second) and nothing else.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llvmlite import binding as llvm

from charrnn.atomic_io import ABANDONED_S, code_cache, is_trusted, sweep_temporaries, write_atomic
from charrnn.generation.compiled.layout import Variant
from charrnn.paths import cache_folder

# the package's sources that determine the code, which also depends on the processor
PACKAGE, HERE = Path(__file__).parents[2], "generation/compiled"
SOURCES = (
    "amx.py", f"{HERE}/cells.py", f"{HERE}/codegen.py", f"{HERE}/draw.py", f"{HERE}/kernels.py",
    f"{HERE}/layout.py", f"{HERE}/machine_code.py", f"{HERE}/plan.py", f"{HERE}/teamwork.py",
    f"{HERE}/tiles.py",
)  # fmt: skip

Run = Callable[[int, int], None]


@dataclass(frozen=True)
class Processor:
    """A compilation target: LLVM's names, floats per vector register, and what it can do.

    ``half``: it has float16; ``byte_products``: as for ``Variant``; ``byte_tiles``: it has AMX
    tiles of bytes, which a process must be permitted to use.
    """

    name: str
    features: str
    lanes: int
    x86: bool
    half: bool = True
    byte_products: bool = False
    byte_tiles: bool = False


@cache
def processor() -> Processor:
    """The processor that this process runs on."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    lanes = 16 if features.get("avx512bw") else 8 if features.get("avx2") else 4
    x86 = platform.machine().lower() in {"x86_64", "amd64", "i686"}
    half = not x86 or bool(features.get("f16c"))
    byte_products = bool(features.get({16: "avx512vnni", 8: "avxvnni"}.get(lanes, "")))
    byte_tiles = all(features.get(name) for name in ("amx-tile", "amx-int8"))
    name = llvm.get_host_cpu_name()
    return Processor(name, features.flatten(), lanes, x86, half, byte_products, byte_tiles)


@cache
def load(variant: Variant) -> tuple[Run, Run]:
    """``run`` and ``assist`` of ``kernels`` for this processor, compiled if not in the cache.

    They run without Python's global lock, so several threads can run at once.

    Raises:
        RuntimeError: this processor has no float16, which ``variant`` stores: its code would call
            a missing function and end the process.

    """
    if variant.weight_dtype == "float16" and not processor().half:
        raise RuntimeError("this processor has no float16")
    name, code = f"{_key(variant)}.o", None
    with suppress(OSError):  # a user without a home folder has no cache
        code = _cached(cache_folder() / "kernels" / name)
    if code is None:
        from charrnn.generation.compiled import kernels  # not needed if the code is cached

        code = compile_module(str(kernels.build(variant)))
        with suppress(OSError):
            folder = code_cache("kernels")
            sweep_temporaries(folder, least_age_s=ABANDONED_S)
            write_atomic(folder / name, [hashlib.sha256(code).digest() + code])
    run, assist = link(code, "run", "assist")
    return run, assist


def link(code: bytes, *names: str) -> list[Run]:
    """Functions ``(address, number)`` in object code; they run without Python's global lock."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
    return [kind(engine.get_function_address(name)) for name in names]


# keeps engines alive: code is freed with its engine
_engines: list[Any] = []


def _target_machine() -> Any:
    here = processor()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(here.name, here.features, opt=2, jit=True)


def compile_module(text: str) -> bytes:
    """The object code for this processor of a module in LLVM's intermediate representation.

    The only pass moves variables into registers. Kernels are written the way they should run:
    LLVM's other passes would add nothing but most of the wait for the first sample on a machine.
    """
    module = llvm.parse_assembly(text)
    module.verify()
    machine = _target_machine()
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    return bytes(machine.emit_object(module))


def _key(variant: Variant) -> str:
    # what is rounded to integers is decided elsewhere
    parts = [repr((variant, variant.integer)), repr(processor()), repr(llvm.llvm_version_info)]
    parts += [(PACKAGE / name).read_text("utf-8") for name in SOURCES]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _cached(path: Path) -> bytes | None:
    try:
        if not is_trusted(path.parent):  # another user could have written code that we would run
            return None
        blob = path.read_bytes()
    except OSError:
        return None
    digest, code = blob[:32], blob[32:]
    return code if hashlib.sha256(code).digest() == digest else None
