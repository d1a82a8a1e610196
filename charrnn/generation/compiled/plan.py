"""Reads the plan, the table of sizes and addresses that a kernel gets, in generated code."""

from __future__ import annotations

from typing import NamedTuple

from charrnn.generation.compiled.codegen import DOUBLE, I16, I64, PTR, Value, Writer
from charrnn.generation.compiled.layout import FIELDS, LAYER_FIELDS


def field(w: Writer, plan: Value, name: str) -> Value:
    """The integer field ``name`` of the plan."""
    return w.read(plan, w.i64(FIELDS.index(name)), I64)


def pointer(w: Writer, plan: Value, name: str) -> Value:
    """The address in field ``name`` of the plan."""
    return w.b.inttoptr(field(w, plan, name), PTR)


def layer_field(w: Writer, layer: Value, name: str) -> Value:
    """The integer field ``name`` of a layer."""
    return w.read(layer, w.i64(LAYER_FIELDS.index(name)), I64)


def layer_pointer(w: Writer, layer: Value, name: str) -> Value:
    """The address in field ``name`` of a layer."""
    return w.b.inttoptr(layer_field(w, layer, name), PTR)


def real(w: Writer, plan: Value, name: str) -> Value:
    """The real number (float64) in field ``name`` of the plan."""
    return w.read(plan, w.i64(FIELDS.index(name)), DOUBLE)


def layer_at(w: Writer, plan: Value, index: Value) -> Value:
    """The address of the fields of layer ``index``."""
    offset = w.b.add(w.i64(len(FIELDS)), w.b.mul(index, w.i64(len(LAYER_FIELDS))))
    return w.at(plan, offset, I64)


def set_field(w: Writer, plan: Value, name: str, value: Value) -> None:
    """Set the integer field ``name`` of the plan."""
    w.b.store(value, w.at(plan, w.i64(FIELDS.index(name)), I64))


class Slot(NamedTuple):
    """Where a layer's state is: ``h`` and ``c`` (N, H), and ``h`` rounded to int16 or bytes."""

    h: Value
    c: Value
    rounded: Value


def slot(w: Writer, plan: Value, address: Value) -> Slot:
    """The parts of the slot at an address."""
    size, start = (
        w.b.mul(field(w, plan, "streams"), field(w, plan, "hidden")),
        w.b.inttoptr(address, PTR),
    )
    c = w.at(start, size)
    return Slot(start, c, w.at(w.at(c, size), w.i64(0), I16))


def slot_place(w: Writer, plan: Value, index: Value, parity: Value) -> Value:
    """Where the plan has the address of a layer's slot after an even or odd number of steps."""
    first = w.i64(LAYER_FIELDS.index("even_slot"))
    return w.at(layer_at(w, plan, index), w.b.add(first, parity), I64)
