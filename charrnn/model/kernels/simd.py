"""Sixteen-lane float32 vectors, raw loads and stores, and atomics for numba functions.

numba's loop vectoriser picks 256-bit code on many AVX-512 hosts (LLVM's "prefer 256 bit"
tuning), and cannot be relied on with gathers and bf16.  ``F16`` is an explicit LLVM
``<16 x float>``: one zmm register with AVX-512, two ymm or four xmm without.  Addresses are plain
int64 numbers (``tensor.data_ptr()``), so that kernels need no array unboxing.
"""

from __future__ import annotations

import operator
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

HOST_FEATURES: dict[str, bool] = dict(llvm.get_host_cpu_features())
_HAS_RCP14 = bool(HOST_FEATURES.get("avx512f"))

I8, I16, I32, I64 = (ir.IntType(n) for n in (8, 16, 32, 64))
F32 = ir.FloatType()
PTR = I8.as_pointer()
V16F, V16I, V16H = (ir.VectorType(t, 16) for t in (F32, I32, I16))
# Contraction only: products and sums may fuse, nothing is reordered.
_FLAGS = ("contract",)


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite has no class for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash("bfloat")


V16B = ir.VectorType(_BFloat(), 16)


class F16Type(types.Type):
    """numba's type of a vector of 16 float32."""

    def __init__(self) -> None:
        super().__init__(name="F16")


F16 = F16Type()


@register_model(F16Type)
class _F16Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, V16F)


def _constant(value: float) -> ir.Constant:
    """A splat of ``value``, rounded to float32."""
    single = ir.Constant(F32, value)
    return ir.Constant(V16F, [single] * 16)


def _ints(value: int) -> ir.Constant:
    return ir.Constant(V16I, [ir.Constant(I32, value)] * 16)


def _binary(op: Any, method: str) -> None:
    @infer_global(op)
    class _Template(ConcreteTemplate):
        cases = [signature(F16, F16, F16)]

    @lower_builtin(op, F16, F16)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, method)(*args, flags=_FLAGS)


_binary(operator.add, "fadd")
_binary(operator.sub, "fsub")
_binary(operator.mul, "fmul")


def pointer(builder: Any, address: Any, kind: Any) -> Any:
    """The LLVM pointer to ``kind`` at an int64 address."""
    return builder.inttoptr(address, kind.as_pointer())


def extern(builder: Any, name: str, result: Any, argtypes: list[Any]) -> Any:
    """The declaration of an LLVM intrinsic or C function in the module being built."""
    found = builder.module.globals.get(name)
    return found or ir.Function(builder.module, ir.FunctionType(result, argtypes), name)


@intrinsic
def splat(typingctx: Any, value: Any) -> Any:
    """A vector of one number."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        single = context.cast(builder, args[0], sig.args[0], types.float32)
        low = builder.insert_element(ir.Constant(V16F, ir.Undefined), single, I32(0))
        return builder.shuffle_vector(low, low, ir.Constant(V16I, [I32(0)] * 16))

    return F16(value), codegen


@intrinsic
def load_f32(typingctx: Any, address: Any) -> Any:
    """Sixteen float32 at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(pointer(builder, args[0], V16F), align=4)

    return F16(types.int64), codegen


@intrinsic
def store_f32(typingctx: Any, address: Any, value: Any) -> Any:
    """Write sixteen float32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[1], pointer(builder, args[0], V16F), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, F16), codegen


@intrinsic
def load_bf16(typingctx: Any, address: Any) -> Any:
    """Sixteen bfloat16 at an address, widened."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        half = builder.load(pointer(builder, args[0], V16H), align=2)
        return builder.bitcast(builder.shl(builder.zext(half, V16I), _ints(16)), V16F)

    return F16(types.int64), codegen


@intrinsic
def store_bf16(typingctx: Any, address: Any, value: Any) -> Any:
    """Write sixteen float32 as bfloat16, rounded to nearest even."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        # LLVM takes vcvtneps2bf16 where the host has it and integer shifts elsewhere.
        half = builder.bitcast(builder.fptrunc(args[1], V16B), V16H)
        builder.store(half, pointer(builder, args[0], V16H), align=2)
        return context.get_dummy_value()

    return types.void(types.int64, F16), codegen


@intrinsic
def clamp(typingctx: Any, value: Any, low: Any, high: Any) -> Any:
    """min(max(value, low), high); a NaN stays a NaN."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, low_, high_ = args
        x = builder.select(builder.fcmp_ordered(">", low_, x), low_, x)
        return builder.select(builder.fcmp_ordered("<", high_, x), high_, x)

    return F16(F16, F16, F16), codegen


@intrinsic
def scale_by_rounded(typingctx: Any, value: Any, shifted: Any) -> Any:
    """value * 2**n, where n lies in the low mantissa bits of ``shifted`` = n + 1.5 * 2**23."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        power = builder.shl(builder.bitcast(args[1], V16I), _ints(23))
        return builder.bitcast(builder.add(builder.bitcast(args[0], V16I), power), V16F)

    return F16(F16, F16), codegen


@intrinsic
def reciprocal(typingctx: Any, value: Any) -> Any:
    """1 / value to about 1e-7; a 14-bit estimate and one Newton step beat a division fourfold."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not _HAS_RCP14:
            return builder.fdiv(_constant(1.0), args[0])
        estimate = extern(builder, "llvm.x86.avx512.rcp14.ps.512", V16F, [V16F, V16F, I16])
        guess = builder.call(estimate, [args[0], _constant(0.0), I16(-1)])
        error = builder.fmul(args[0], guess, flags=_FLAGS)
        rest = builder.fsub(_constant(2.0), error, flags=_FLAGS)
        return builder.fmul(guess, rest, flags=_FLAGS)

    return F16(F16), codegen


@intrinsic
def peek(typingctx: Any, address: Any, index: Any) -> Any:
    """The int64 number ``index`` of the table at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base = pointer(builder, args[0], I64)
        return builder.load(builder.gep(base, [args[1]]), align=8)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def atomic_add(typingctx: Any, address: Any, value: Any) -> Any:
    """Add to a shared int64; returns what was there before."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", pointer(builder, args[0], I64), args[1], "acq_rel")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def atomic_load(typingctx: Any, address: Any) -> Any:
    """Read a shared int64; later reads stay behind it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(pointer(builder, args[0], I64), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def call_int(typingctx: Any, function: Any) -> Any:
    """Call the C function ``int f(void)`` at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(I32, [])
        result = builder.call(builder.inttoptr(args[0], kind.as_pointer()), [])
        return builder.sext(result, I64)

    return types.int64(types.int64), codegen


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """Ask for the cache line at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        hint = extern(builder, "llvm.prefetch.p0", ir.VoidType(), [PTR, I32, I32, I32])
        builder.call(hint, [pointer(builder, args[0], I8), I32(0), I32(3), I32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


_ROUND = 12582912.0  # 1.5 * 2**23: adding it rounds a float32 to a whole number
LOG2E = 1.4426950408889634


# 2**r on [-1/2, 1/2], least greatest relative error (7.5e-8).
C0, C1, C2 = 1.0000000716556785, 0.6931469670586028, 0.24022119718703466
C3, C4, C5 = 0.05550713280923936, 0.009675541618405496, 0.0013276470424521665


@njit
def exp2(x):  # type: ignore[no-untyped-def]
    """2**x to about 1e-7 relative, x held within +-126."""
    x = clamp(x, splat(-126.0), splat(126.0))
    shifted = x + splat(_ROUND)
    r = x - (shifted - splat(_ROUND))
    p = splat(C5) * r + splat(C4)
    p = p * r + splat(C3)
    p = p * r + splat(C2)
    p = p * r + splat(C1)
    p = p * r + splat(C0)
    return scale_by_rounded(p, shifted)


@njit
def sigmoid(z):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-z))."""
    return reciprocal(splat(1.0) + exp2(z * splat(-LOG2E)))


@njit
def tanh(z):  # type: ignore[no-untyped-def]
    """Hyperbolic tangent, absolute error about 2e-7."""
    return splat(1.0) - splat(2.0) * reciprocal(splat(1.0) + exp2(z * splat(2 * LOG2E)))


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell the core that this is a waiting loop."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if "avx" in HOST_FEATURES:  # x86; elsewhere the atomic load alone must do
            builder.call(extern(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        return context.get_dummy_value()

    return types.void(), codegen


def _row_pairs(builder: Any, address: Any, stride: Any) -> list[Any]:
    """Sixteen int32 vectors: rows 2p and 2p + 1 of 16 bfloat16 columns, side by side."""
    rows = []
    for r in range(32):
        at = builder.add(address, builder.mul(stride, I64(r)))
        half = builder.load(pointer(builder, at, V16H), align=2)
        rows.append(builder.zext(half, V16I))
    high = [builder.shl(row, _ints(16)) for row in rows[1::2]]
    return [builder.or_(low, up) for low, up in zip(rows[::2], high, strict=True)]


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The 16 x 16 transpose: swap off-diagonal blocks of 1, 2, 4, 8."""
    for s in (1, 2, 4, 8):
        first = ir.Constant(V16I, [I32(j if not j & s else 16 + j - s) for j in range(16)])
        second = ir.Constant(V16I, [I32(j + s if not j & s else 16 + j) for j in range(16)])
        for k in range(16):
            if not k & s:
                a, b = rows[k], rows[k | s]
                rows[k] = builder.shuffle_vector(a, b, first)
                rows[k | s] = builder.shuffle_vector(a, b, second)
    return rows


def _pack_codegen(transpose: bool) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, stride, target = args
        rows = _row_pairs(builder, source, stride)
        for k, row in enumerate(_transposed(builder, rows) if transpose else rows):
            at = builder.add(target, I64(64 * k))
            builder.store(row, pointer(builder, at, V16I), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def pack_b_tile(typingctx: Any, source: Any, stride: Any, target: Any) -> Any:
    """A B tile from 32 rows, ``stride`` bytes apart, of 16 bfloat16."""
    return _pack_codegen(False)


@intrinsic
def pack_a_tile(typingctx: Any, source: Any, stride: Any, target: Any) -> Any:
    """The A tile of the transpose of 32 rows, ``stride`` bytes apart, of 16 bfloat16."""
    return _pack_codegen(True)


@intrinsic
def copy_line(typingctx: Any, source: Any, target: Any) -> Any:
    """Copy 64 bytes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        line = builder.load(pointer(builder, args[0], V16I), align=2)
        builder.store(line, pointer(builder, args[1], V16I), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


def _multiply_codegen(rows: int, vectors: int) -> Any:
    """Registers: rows x vectors sums, one row of B, one broadcast element of A."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, lda, last, b, count, c = args[2:]
        starts = []
        for r in range(rows):  # rows behind the last one repeat it
            row = builder.select(builder.icmp_signed("<", I64(r), last), I64(r), last)
            starts.append(builder.add(a, builder.mul(row, lda)))
        zero = _constant(0.0)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(rows * vectors)]
        with cgutils.for_range(builder, count) as loop:
            at = builder.mul(loop.index, I64(64 * vectors))
            line = [
                builder.load(pointer(builder, builder.add(b, builder.add(at, I64(64 * v))), V16F),
                             align=4)
                for v in range(vectors)
            ]  # fmt: skip
            for r in range(rows):
                place = builder.add(starts[r], builder.mul(loop.index, I64(4)))
                single = builder.load(pointer(builder, place, F32), align=4)
                low = builder.insert_element(ir.Constant(V16F, ir.Undefined), single, I32(0))
                x = builder.shuffle_vector(low, low, ir.Constant(V16I, [I32(0)] * 16))
                for v in range(vectors):
                    cell = sums[r * vectors + v]
                    product = builder.fmul(x, line[v], flags=_FLAGS)
                    builder.store(builder.fadd(builder.load(cell), product, flags=_FLAGS), cell)
        for k, cell in enumerate(sums):
            builder.store(builder.load(cell),
                          pointer(builder, builder.add(c, I64(64 * k)), V16F), align=4)  # fmt: skip
        return context.get_dummy_value()

    return codegen


@intrinsic(prefer_literal=True)
def multiply_f32(typingctx: Any, rows: Any, vectors: Any, a: Any, lda: Any, last: Any, b: Any,
                 count: Any, c: Any) -> Any:  # fmt: skip
    """c[r][v] (16 float32 each) = sum over k < count of a[min(r, last)][k] * b[k][v].

    ``rows`` and ``vectors`` are literals, at most 28 registers together; lda is in bytes.
    """
    big = types.int64
    kind = types.void(rows, vectors, big, big, big, big, big, big)
    return kind, _multiply_codegen(rows.literal_value, vectors.literal_value)
