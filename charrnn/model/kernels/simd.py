"""Sixteen-lane float32 vectors, raw loads and stores, and atomics for numba functions.

numba's loop vectoriser emits 256-bit code on many AVX-512 processors (LLVM's "prefer 256 bit"
tuning) and is unreliable with gathers and bf16. So ``F16`` is an explicit LLVM ``<16 x float>``,
one zmm register: processors with tiles have AVX-512. Addresses are plain int64 numbers
(``tensor.data_ptr()``), so that kernels need no array unboxing.
"""

from __future__ import annotations

import operator
from typing import Any, ClassVar

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

HOST_FEATURES: dict[str, bool] = dict(llvm.get_host_cpu_features())

I8, I16, I32, I64 = (ir.IntType(n) for n in (8, 16, 32, 64))
F32 = ir.FloatType()
PTR = I8.as_pointer()
V16F, V16I, V16H = (ir.VectorType(t, 16) for t in (F32, I32, I16))
# contraction only: a product and a sum may fuse, but nothing is reordered
FLAGS = ("contract",)


class BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite has no class for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash("bfloat")


V16B = ir.VectorType(BFloat(), 16)


class F16Type(types.Type):
    """numba's type of a vector of 16 float32."""

    def __init__(self) -> None:
        super().__init__(name="F16")


F16 = F16Type()


@register_model(F16Type)
class _F16Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, V16F)


def constant(value: float) -> ir.Constant:
    """The constant ``value``, rounded to float32, in every lane."""
    single = ir.Constant(F32, value)
    return ir.Constant(V16F, [single] * 16)


def ints(value: int) -> ir.Constant:
    """The int32 constant ``value`` in every lane."""
    return ir.Constant(V16I, [ir.Constant(I32, value)] * 16)


def _binary(op: Any, method: str) -> None:
    @infer_global(op)
    class _Template(ConcreteTemplate):
        cases: ClassVar[list[Any]] = [signature(F16, F16, F16)]

    @lower_builtin(op, F16, F16)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, method)(*args, flags=FLAGS)


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


def broadcast(builder: Any, value: Any) -> Any:
    """A vector with the 32-bit number ``value`` in all 16 lanes."""
    undefined = ir.Constant(ir.VectorType(value.type, 16), ir.Undefined)
    low = builder.insert_element(undefined, value, I32(0))
    return builder.shuffle_vector(low, low, ir.Constant(V16I, [I32(0)] * 16))


@intrinsic
def splat(typingctx: Any, value: Any) -> Any:
    """``value`` in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return broadcast(builder, context.cast(builder, args[0], sig.args[0], types.float32))

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
        return builder.bitcast(builder.shl(builder.zext(half, V16I), ints(16)), V16F)

    return F16(types.int64), codegen


@intrinsic
def store_bf16(typingctx: Any, address: Any, value: Any) -> Any:
    """Write sixteen float32 as bfloat16, rounded to nearest even."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        # LLVM uses vcvtneps2bf16 if the processor has it, else integer shifts
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
    """value * 2**n, with n in the low mantissa bits of ``shifted`` = n + 1.5 * 2**23."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        power = builder.shl(builder.bitcast(args[1], V16I), ints(23))
        return builder.bitcast(builder.add(builder.bitcast(args[0], V16I), power), V16F)

    return F16(F16, F16), codegen


@intrinsic
def reciprocal(typingctx: Any, value: Any) -> Any:
    """1 / value to about 1e-7; 14-bit estimate and Newton step, 4 times as fast as a division."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        estimate = extern(builder, "llvm.x86.avx512.rcp14.ps.512", V16F, [V16F, V16F, I16])
        guess = builder.call(estimate, [args[0], constant(0.0), I16(-1)])
        error = builder.fmul(args[0], guess, flags=FLAGS)
        rest = builder.fsub(constant(2.0), error, flags=FLAGS)
        return builder.fmul(guess, rest, flags=FLAGS)

    return F16(F16), codegen


@intrinsic
def peek(typingctx: Any, address: Any, index: Any) -> Any:
    """Element ``index`` of the int64 table at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        base = pointer(builder, args[0], I64)
        return builder.load(builder.gep(base, [args[1]]), align=8)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def atomic_add(typingctx: Any, address: Any, value: Any) -> Any:
    """Add to a shared int64; return its old value."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", pointer(builder, args[0], I64), args[1], "acq_rel")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def atomic_load(typingctx: Any, address: Any) -> Any:
    """Read a shared int64; later reads are not moved before it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(pointer(builder, args[0], I64), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def call_int(typingctx: Any, function: Any) -> Any:
    """Call the C function ``int f(void)`` at the address ``function``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(I32, [])
        result = builder.call(builder.inttoptr(args[0], kind.as_pointer()), [])
        return builder.sext(result, I64)

    return types.int64(types.int64), codegen


_ROUND = 12582912.0  # 1.5 * 2**23: adding it rounds a float32 to an integer
LOG2E = 1.4426950408889634

# minimax polynomial of 2**r on [-1/2, 1/2], relative error 7.5e-8
C0, C1, C2 = 1.0000000716556785, 0.6931469670586028, 0.24022119718703466
C3, C4, C5 = 0.05550713280923936, 0.009675541618405496, 0.0013276470424521665


@njit
def exp2(x):
    """2**x with a relative error of about 1e-7, for x clamped to ±126."""
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
def sigmoid(z):
    """1 / (1 + exp(-z))."""
    return reciprocal(splat(1.0) + exp2(z * splat(-LOG2E)))


@njit
def tanh(z):
    """Hyperbolic tangent, absolute error about 2e-7."""
    return splat(1.0) - splat(2.0) * reciprocal(splat(1.0) + exp2(z * splat(2 * LOG2E)))


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell the core that this is a spin loop."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if "avx" in HOST_FEATURES:  # x86; other processors have only the atomic load
            builder.call(extern(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        return context.get_dummy_value()

    return types.void(), codegen
