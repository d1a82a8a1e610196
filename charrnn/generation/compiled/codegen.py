"""Builds vector code in LLVM's intermediate representation. Needs llvmlite.

A ``Writer`` builds one function. Its numbers are ``ir.Value``s: ``i64`` for sizes and offsets,
``float`` and vectors of ``lanes`` floats for arithmetic. Sums are never reassociated, so a kernel's
result does not depend on how it is unrolled or blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

from charrnn.generation.compiled.layout import BYTE_ZERO

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
HALF, FLOAT, DOUBLE = ir.HalfType(), ir.FloatType(), ir.DoubleType()
PTR = ir.PointerType()

Value = Any

# tanh as an odd rational function on ±7.9 (Eigen's coefficients), accurate to 4e-7
TANH_LIMIT = 7.90531110763549805
TANH_TOP = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11,
            5.12229709037114e-08, 1.48572235717979e-05, 6.37261928875436e-04,
            4.89352455891786e-03)  # fmt: skip
TANH_BOTTOM = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03,
               4.89352518554385e-03)  # fmt: skip
# exp on ±ln 2 / 2 (Cephes), relative error 2e-7
EXP_TERMS = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2,
             1.6666665459e-1, 5.0000001201e-1)  # fmt: skip
LOG2_E, LN_2_HIGH, LN_2_LOW = 1.44269504088896341, 0.693359375, -2.12194440e-4
EXP_LEAST = -87.0

# x86's instruction that multiplies pairs of int16 and adds the products, by lanes of its result
PAIR_PRODUCTS = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd",
                 16: "llvm.x86.avx512.pmaddw.d.512"}  # fmt: skip
# and the one that adds four products of an unsigned byte and an int8 to each lane
BYTE_PRODUCTS = {8: "llvm.x86.avx512.vpdpbusd.256", 16: "llvm.x86.avx512.vpdpbusd.512"}


class Writer:
    """Writes the body of one function: ``name(*arguments)``, which returns nothing."""

    def __init__(
        self, module: ir.Module, name: str, arguments: Sequence[Any], lanes: int, public: bool
    ) -> None:
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
        self.function.linkage = "" if public else "internal"
        self.arguments = self.function.args
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.lanes, self.vector = lanes, ir.VectorType(FLOAT, lanes)
        self.i32_vector, self.i16_pairs = ir.VectorType(I32, lanes), ir.VectorType(I16, 2 * lanes)

    def i64(self, value: int) -> Value:
        """``value`` as an ``i64`` constant."""
        return ir.Constant(I64, value)

    def constant(self, value: float) -> Value:
        """``value`` in every lane."""
        return ir.Constant(self.vector, [ir.Constant(FLOAT, value)] * self.lanes)

    def variable(self, start: Value) -> Value:
        """A variable that starts as ``start``; read it with ``get``, assign it with ``set``."""
        with self.b.goto_entry_block():
            variable = self.b.alloca(start.type)
        self.b.store(start, variable)
        return variable

    def get(self, variable: Value) -> Value:
        """The value of a variable."""
        return self.b.load(variable, typ=variable.allocated_type)

    def set(self, variable: Value, value: Value) -> None:
        """Assign ``value`` to a variable."""
        self.b.store(value, variable)

    def at(self, base: Value, index: Value, kind: Any = FLOAT) -> Value:
        """The address of element ``index`` of an array of ``kind``."""
        return self.b.gep(base, [index], source_etype=kind)

    def read(self, base: Value, index: Value, kind: Any = FLOAT) -> Value:
        """Element ``index`` of an array of ``kind``."""
        return self.b.load(self.at(base, index, kind), typ=kind)

    def read_vector(self, base: Value, index: Value, kind: Any = FLOAT) -> Value:
        """``lanes`` elements from ``index`` on of an array of ``kind``, as floats."""
        address = self.at(base, index, kind)
        size = {I8: 1, HALF: 2, FLOAT: 4}[kind]
        raw = self.b.load(address, typ=ir.VectorType(kind, self.lanes), align=size)
        if kind is I8:
            return self.b.sitofp(raw, self.vector)
        return self.b.fpext(raw, self.vector) if kind is HALF else raw

    def write_vector(self, value: Value, base: Value, index: Value) -> None:
        """Store ``lanes`` floats from element ``index`` on."""
        self.b.store(value, self.at(base, index), align=4)

    def copy(self, source: Value, target: Value, count: Value, kind: Any = FLOAT) -> None:
        """Copy ``count`` elements of ``kind`` from one address to another."""
        with self.loop(self.i64(0), count) as i:
            self.b.store(self.read(source, i, kind), self.at(target, i, kind))

    def copy_vectors(self, source: Value, target: Value, count: Value, kind: Any) -> None:
        """``copy`` for a ``count`` that is a multiple of ``lanes``."""
        vector, size = ir.VectorType(kind, self.lanes), {FLOAT: 4}[kind]
        with self.loop(self.i64(0), count, self.lanes) as i:
            value = self.b.load(self.at(source, i, kind), typ=vector, align=size)
            self.b.store(value, self.at(target, i, kind), align=size)

    def splat(self, value: Value) -> Value:
        """The ``float`` or ``i32`` ``value`` in every lane."""
        undefined = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        single = self.b.insert_element(undefined, value, ir.Constant(I32, 0))
        mask = ir.Constant(self.i32_vector, [0] * self.lanes)
        return self.b.shuffle_vector(single, undefined, mask)

    def read_pairs(self, base: Value, index: Value) -> Value:
        """``2 · lanes`` elements from ``index`` on of an array of int8, as int16."""
        raw = self.b.load(self.at(base, index, I8), typ=ir.VectorType(I8, 2 * self.lanes), align=1)
        return self.b.sext(raw, self.i16_pairs)

    def splat_pair(self, value: Value) -> Value:
        """The two int16 of the ``i32`` ``value`` in every lane."""
        return self.b.bitcast(self.splat(value), self.i16_pairs)

    def add_products(self, a: Value, b: Value, c: Value, x86: bool) -> Value:
        """c + a₀ · b₀ + a₁ · b₁ for int16 pairs ``a``, ``b`` and int32 sums ``c``."""
        if x86:
            name, pairs = PAIR_PRODUCTS[self.lanes], self.i16_pairs
            return self.b.add(c, self.call(name, self.i32_vector, [pairs, pairs], a, b))
        wide = ir.VectorType(I32, 2 * self.lanes)
        products = self.b.mul(self.b.sext(a, wide), self.b.sext(b, wide))
        for first in (0, 1):
            indices = [ir.Constant(I32, first + 2 * lane) for lane in range(self.lanes)]
            mask = ir.Constant(self.i32_vector, indices)
            c = self.b.add(c, self.b.shuffle_vector(products, products, mask))
        return c

    def add_byte_products(self, a: Value, b: Value, c: Value) -> Value:
        """c + a₀ · b₀ + … + a₃ · b₃ for unsigned bytes ``a`` and int8 ``b``, four in each int32."""
        kind = self.i32_vector
        return self.call(BYTE_PRODUCTS[self.lanes], kind, [kind] * 3, c, a, b)

    def constant_i32(self, value: int) -> Value:
        """int32 ``value`` in every lane."""
        return ir.Constant(self.i32_vector, [ir.Constant(I32, value)] * self.lanes)

    def write_rounded(self, value: Value, scale: Value, address: Value, kind: Any) -> None:
        """Store ``lanes`` floats times ``scale``, rounded: to int16, or bytes around BYTE_ZERO."""
        name, scaled = f"llvm.rint.v{self.lanes}f32", self.b.fmul(value, self.splat(scale))
        rounded = self.b.fptosi(
            self.call(name, self.vector, [self.vector], scaled), self.i32_vector
        )
        if kind is I8:
            rounded = self.b.add(rounded, self.constant_i32(BYTE_ZERO))
        narrow = self.b.trunc(rounded, ir.VectorType(kind, self.lanes))
        self.b.store(narrow, address, align=kind.width // 8)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """``a`` · ``b`` + ``c``, rounded once."""
        return self.call(f"llvm.fma.v{self.lanes}f32", self.vector, [self.vector] * 3, a, b, c)

    def prefetch(self, address: Value) -> None:
        """Begin to load the cache line at ``address``, which may be anywhere."""
        types, numbers = [PTR, I32, I32, I32], (0, 3, 1)  # to read, soon, data
        constants = [ir.Constant(I32, n) for n in numbers]
        self.call("llvm.prefetch.p0", ir.VoidType(), types, address, *constants)

    def call(self, name: str, result: Any, types: Sequence[Any], *arguments: Value) -> Value:
        """Call the external function ``name`` with arguments of ``types``; declare it if needed."""
        module = self.function.module
        function = module.globals.get(name)
        function = function or ir.Function(module, ir.FunctionType(result, types), name)
        return self.b.call(function, arguments)

    def select(self, relation: str, a: Value, b: Value, yes: Value, no: Value) -> Value:
        """``yes`` in lanes where ``a`` ``relation`` ``b`` holds, else ``no``."""
        return self.b.select(self.b.fcmp_ordered(relation, a, b), yes, no)

    def polynomial(self, x: Value, terms: Sequence[float]) -> Value:
        """terms[0] xⁿ + … + terms[n]."""
        total = self.constant(terms[0])
        for term in terms[1:]:
            total = self.fma(total, x, self.constant(term))
        return total

    def tanh(self, x: Value) -> Value:
        """tanh of each lane."""
        for relation, limit in (("<", -TANH_LIMIT), (">", TANH_LIMIT)):
            x = self.select(relation, x, self.constant(limit), self.constant(limit), x)
        square = self.b.fmul(x, x)
        top = self.b.fmul(x, self.polynomial(square, TANH_TOP))
        return self.b.fdiv(top, self.polynomial(square, TANH_BOTTOM))

    def sigmoid_from_tanh(self, tanh_of_half: Value) -> Value:
        """sigmoid(x) from tanh(x / 2)."""
        return self.fma(tanh_of_half, self.constant(0.5), self.constant(0.5))

    def exp(self, x: Value) -> Value:
        """Exponential of each lane, for x ≤ 0; 0 where it is below 1e-38."""
        least = self.constant(EXP_LEAST)
        clamped = self.select("<", x, least, least, x)
        ints = self.i32_vector
        # x ≤ 0: truncating x log₂ e − 1/2 rounds it
        power = self.b.fptosi(self.fma(clamped, self.constant(LOG2_E), self.constant(-0.5)), ints)
        exponent = self.b.sitofp(power, self.vector)
        rest = self.fma(exponent, self.constant(-LN_2_HIGH), clamped)
        rest = self.fma(exponent, self.constant(-LN_2_LOW), rest)
        square = self.b.fmul(rest, rest)
        fraction = self.fma(self.polynomial(rest, EXP_TERMS), square, rest)
        fraction = self.b.fadd(fraction, self.constant(1.0))
        bias, shift = (ir.Constant(ints, [value] * self.lanes) for value in (127, 23))
        scale = self.b.bitcast(self.b.shl(self.b.add(power, bias), shift), self.vector)
        return self.select("<", x, least, self.constant(0.0), self.b.fmul(fraction, scale))

    @contextmanager
    def loop(self, start: Value, stop: Value, step: int = 1) -> Iterator[Value]:
        """A loop over ``range(start, stop, step)``; the block writes its body."""
        index = self.variable(start)
        test, body, done = (self.b.append_basic_block(n) for n in ("test", "body", "done"))
        self.b.branch(test)
        self.b.position_at_end(test)
        current = self.get(index)
        self.b.cbranch(self.b.icmp_signed("<", current, stop), body, done)
        self.b.position_at_end(body)
        yield current
        self.set(index, self.b.add(current, self.i64(step)))
        self.b.branch(test)
        self.b.position_at_end(done)

    @contextmanager
    def repeat(self) -> Iterator[Callable[[Value], None]]:
        """A loop without end; the block writes its body and gets ``leave_if(condition)``."""
        body, done = (self.b.append_basic_block(name) for name in ("body", "done"))
        self.b.branch(body)
        self.b.position_at_end(body)

        def leave_if(condition: Value) -> None:
            stay = self.b.append_basic_block("stay")
            self.b.cbranch(condition, done, stay)
            self.b.position_at_end(stay)

        yield leave_if
        self.b.branch(body)
        self.b.position_at_end(done)

    def end(self) -> None:
        """Return from the function."""
        self.b.ret_void()
