"""How threads share the stages of a step without ever having to wait. Needs llvmlite.

The calling thread runs every step. Other threads, the helpers, only assist: a stage's work is cut
into a share for each thread. When the caller has done its own share, it takes over what helpers
have finished, and does itself what they have not, once it has waited a little longer than its own
share took. So a helper that another program keeps off its processor costs next to nothing. Shares
are computed in the same way wherever it happens: results do not depend on who did what.

A late helper still writes what it computes, at any later time. New states go straight to their
slot, so the caller moves to a spare slot and leaves the helper the old one (``_replace``). Logits
and draws go to memory of the helper's own, which the caller reads only if they came in time.

``meeting`` is a table of int64 in lines of ``LINE``. The first, written by the caller alone, is the
current stage (``STAGE_FIELDS``). Its ``number`` is even, and odd while the line is being written.
Line k is the mark of helper k: n + 1 says that it finished stage n, n that it missed it, both that
it is ready for the next; ``NAPPING`` and ``LEFT`` that it is not.

Since nobody waits for a helper, it may still run when the call has returned: all that it reads and
writes belongs to the engine, and is kept while it runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from llvmlite import ir

from charrnn.generation.compiled.codegen import FLOAT, I8, I32, I64, PTR, Value, Writer
from charrnn.generation.compiled.layout import (
    HEAD_VECTORS,
    HELPER_FIELDS,
    LEFT,
    LINE,
    NAPPING,
    PAIR,
    STAGE_FIELDS,
    Variant,
)
from charrnn.generation.compiled.plan import field, pointer, slot_place

LAYER, HEAD, DRAW = range(3)  # kinds of stages
NULL = ir.Constant(PTR, None)
# plan, kind, index, first, end, below, old, new; see ``Slots`` and ``Team``
STAGE = [PTR, I64, I64, I64, I64, I64, I64, I64]
WORK = [*STAGE, I64, I64, PTR]

# Ticks of the clock per microsecond, roughly: it only limits waiting.
X86_TICKS, TICKS = 3000, 1000
# Microseconds. The caller waits for a late helper for half as long as its own share took, and a
# little longer, because interrupts and cold caches are no reason to do without it. Then it does
# without that helper for a time, four times the last one if they have worked together for less
# than ``SOON_US``: beside busy programs, two threads that meet are slower than one.
GRACE_US, SOON_US = 200, 5_000
SHORTEST_REST_US, LONGEST_REST_US = 1_000, 100_000
# A helper spins for a while when there is nothing to do (``_set_patience``), between two calls,
# which is when the caller decodes and prints, for longer. Then it naps during a call, and leaves
# after it. Before its first share it assumes that one takes ``SHARE_US``. The caller notes how long
# stages take that it does alone: a helper that naps when the next one begins misses that, too.
SPIN_US, BETWEEN_US, SHARE_US = 20, 150, 200
NAP, LONGEST_NAP = (ir.Constant(I32, microseconds) for microseconds in (100, 20_000))


class Slots(NamedTuple):
    """A layer, and the addresses of its slots: the one below, its old one and its new one.

    For the head, ``old`` is the address of its inputs.
    """

    index: Value
    below: Value
    old: Value
    new: Value


def slots(w: Writer, plan: Value, index: Value, parity: Value) -> Slots:
    """The slots of layer ``index`` in a step that begins after an even or odd number of steps."""
    one, zero = w.i64(1), w.i64(0)
    lowest, after = w.b.icmp_signed("==", index, zero), w.b.sub(one, parity)
    under = w.b.select(lowest, index, w.b.sub(index, one))
    places = ((under, after), (index, parity), (index, after))
    return Slots(index, *(w.read(slot_place(w, plan, *place), zero, I64) for place in places))


def outputs(w: Writer, plan: Value, first: Value, private: Value) -> tuple[Value, Value]:
    """Addresses of logits and drawn ids, as if stream 0 were there; private unless null."""
    V, rows = field(w, plan, "padded_vocab"), field(w, plan, "stage_streams")
    ids = w.at(private, w.b.mul(rows, V))
    mine = w.at(private, w.b.mul(w.b.neg(first), V)), w.at(ids, w.b.neg(first), I32)
    alone = w.b.icmp_unsigned("==", private, NULL)
    logits, drawn = (
        w.b.select(alone, pointer(w, plan, name), own)
        for name, own in zip(("logits", "read"), mine, strict=True)
    )
    return logits, drawn


def units(w: Writer, variant: Variant, plan: Value, kind: int, streams: Sequence[Value]) -> Value:
    """How many units of work a stage of ``kind`` has, to be shared among the threads."""
    if kind == LAYER:
        return w.b.sdiv(field(w, plan, "hidden"), w.i64(PAIR * variant.lanes))
    if kind == HEAD:
        return w.b.sdiv(field(w, plan, "padded_vocab"), w.i64(HEAD_VECTORS * variant.lanes))
    first, end = streams
    return w.b.sub(end, first)


def bounds(w: Writer, plan: Value, count: Value, begin: Value, end: Value) -> tuple[Value, Value]:
    """The units that shares ``begin`` to ``end`` of ``count`` consist of."""
    threads = field(w, plan, "threads")
    return w.b.sdiv(w.b.mul(count, begin), threads), w.b.sdiv(w.b.mul(count, end), threads)


@contextmanager
def share(w: Writer, plan: Value, count: Value, begin: Value, end: Value) -> Iterator[Value]:
    """A loop over the units that shares ``begin`` to ``end`` of ``count`` consist of."""
    with w.loop(*bounds(w, plan, count, begin, end)) as index:
        yield index


def set_active(w: Writer, plan: Value, active: int) -> None:
    """Tell the helpers whether a call is going on."""
    _store(w, _stage_field(w, pointer(w, plan, "meeting"), "active"), w.i64(active))


class Team:
    """The functions by which threads share the work of ``module``.

    Attributes:
        stage: ``stage(plan, kind, index, first, end, below, old, new, parity)`` does the work of
            streams ``first`` to ``end`` of a layer, of the head, or of the draws.

    """

    def __init__(self, module: ir.Module, variant: Variant, work: Any) -> None:
        self.module, self.variant, self.work = module, variant, work
        self.ticks = X86_TICKS if variant.x86 else TICKS
        self.replace = self._replace()
        self.take = self._take()
        self.stage = self._stage()
        self._assist()

    def _writer(self, name: str, arguments: Sequence[Any], public: bool = False) -> Writer:
        return Writer(self.module, name, arguments, self.variant.lanes, public)

    def _stage(self) -> Any:
        w = self._writer("stage", [*STAGE, I64])
        plan, *stage, parity = w.arguments
        threads, zero, one = field(w, plan, "threads"), w.i64(0), w.i64(1)
        number, ready = self._publish(w, plan, stage)
        with w.b.if_else(w.b.icmp_signed("==", ready, zero)) as (alone, together):
            with alone:
                began = self._clock(w)
                w.b.call(self.work, [plan, *stage, zero, threads, NULL])
                self._note(w, plan, stage[0], w.b.sub(self._clock(w), began))
            with together:
                began = self._clock(w)
                w.b.call(self.work, [plan, *stage, zero, one, NULL])
                half = w.b.ashr(w.b.sub(self._clock(w), began), one)
                grace = w.b.add(half, w.i64(GRACE_US * self.ticks))
                times, late = (began, w.b.add(self._clock(w), grace)), w.variable(zero)
                missing = w.variable(zero)
                with w.loop(one, threads) as helper:
                    here = w.b.and_(w.b.lshr(ready, helper), one)
                    came = self._gather(w, (plan, *stage), (helper, number, here), times)
                    w.set(late, w.b.or_(w.get(late), w.b.sub(here, came)))
                    w.set(missing, w.b.or_(w.get(missing), w.b.shl(w.b.sub(one, came), helper)))
                self._catch_up(w, (plan, *stage), w.get(late), w.get(missing), parity)
        w.end()
        return w.function

    def _note(self, w: Writer, plan: Value, kind: Value, time: Value) -> None:
        """Let helpers know how long a stage of this kind takes if nobody helps."""
        place = self._alone(w, plan, kind)
        before = w.read(place, w.i64(0), I64)
        w.b.store(self._mean(w, before, time), place)

    def _alone(self, w: Writer, plan: Value, kind: Value) -> Value:
        """Where the table has the time of a stage without help: one number for each kind."""
        first = w.b.add(kind, w.i64(STAGE_FIELDS.index("alone")))
        return w.at(pointer(w, plan, "meeting"), first, I64)

    def _mean(self, w: Writer, before: Value, time: Value) -> Value:
        """A running mean of times.

        They are far longer if another program gets the processor, which says nothing. Before the
        first time the mean is 0.
        """
        before = w.b.select(w.b.icmp_signed("==", before, w.i64(0)), time, before)
        twice = w.b.shl(before, w.i64(1))
        time = w.b.select(w.b.icmp_signed("<", time, twice), time, twice)
        return w.b.add(before, w.b.ashr(w.b.sub(time, before), w.i64(2)))

    def _catch_up(
        self, w: Writer, stage: Sequence[Value], late: Value, missing: Value, parity: Value
    ) -> None:
        """Do the ``missing`` shares here, in a slot that no ``late`` helper writes to."""
        plan, kind, index, *_, new = stage
        one, target = w.i64(1), w.variable(new)
        is_layer = w.b.icmp_signed("==", kind, w.i64(LAYER))
        with w.b.if_then(w.b.and_(is_layer, w.b.icmp_signed("!=", late, w.i64(0)))):
            place = slot_place(w, plan, index, w.b.sub(one, parity))
            w.b.call(self.replace, [plan, place])
            w.set(target, w.read(place, w.i64(0), I64))
        with w.loop(one, field(w, plan, "threads")) as helper:
            bit = w.b.and_(w.b.lshr(missing, helper), one)
            with w.b.if_then(w.b.icmp_signed("==", bit, one)):
                shares = helper, w.b.add(helper, one)
                w.b.call(self.work, [*stage[:-1], w.get(target), *shares, NULL])

    def _publish(self, w: Writer, plan: Value, stage: Sequence[Value]) -> tuple[Value, Value]:
        """Begin the next stage; return its number, and bits of the helpers that take part."""
        meeting, zero, one = pointer(w, plan, "meeting"), w.i64(0), w.i64(1)
        last = w.read(_stage_field(w, meeting, "number"), zero, I64)
        number, ready = w.b.add(last, w.i64(2)), w.variable(zero)
        with w.loop(one, field(w, plan, "threads")) as helper:
            mark = w.b.and_(_load(w, _mark(w, meeting, helper)), w.i64(-2))
            counted = w.b.and_(w.b.icmp_signed("==", mark, last), self._awake(w, plan, helper))
            w.set(ready, w.b.or_(w.get(ready), w.b.shl(w.b.zext(counted, I64), helper)))
        _store(w, _stage_field(w, meeting, "number"), w.b.add(last, one))
        for name, value in zip(STAGE_FIELDS[1:], (w.get(ready), *stage), strict=False):
            w.b.store(value, _stage_field(w, meeting, name))
        _store(w, _stage_field(w, meeting, "number"), number)
        return number, w.get(ready)

    def _gather(
        self, w: Writer, stage: Sequence[Value], where: Sequence[Value], times: Sequence[Value]
    ) -> Value:
        """Wait for a helper if it takes part (``here``) and take over its share; 0: it is late."""
        (plan, kind, *_, new), (helper, number, here), (began, deadline) = stage, where, times
        mark, zero = _mark(w, pointer(w, plan, "meeting"), helper), w.i64(0)
        done, arrived = w.b.add(number, w.i64(1)), w.variable(zero)
        with w.b.if_then(w.b.icmp_signed("!=", here, zero)):
            with w.repeat() as leave_if:
                found = _load(w, mark)
                there = w.b.icmp_signed("==", found, done)
                w.set(arrived, w.b.zext(there, I64))
                leave_if(w.b.or_(there, w.b.icmp_signed(">", self._clock(w), deadline)))
                self._pause(w)
            with w.b.if_else(w.b.icmp_signed("==", w.get(arrived), zero)) as (late, on_time):
                with late:
                    self._dismiss(w, plan, helper)
                    is_layer = w.b.icmp_signed("==", kind, w.i64(LAYER))
                    w.b.store(w.b.select(is_layer, new, zero), _helper(w, plan, helper, "writes"))
                    w.b.store(found, _helper(w, plan, helper, "mark"))
                with on_time:
                    w.b.call(self.take, [*stage[:5], helper])
                    together = _helper(w, plan, helper, "together")
                    time = w.b.sub(self._clock(w), began)
                    w.b.store(w.b.add(w.read(together, zero, I64), time), together)
        return w.get(arrived)

    def _dismiss(self, w: Writer, plan: Value, helper: Value) -> None:
        """Do without a late helper for a while."""
        zero, now = w.i64(0), self._clock(w)
        together, rest, until = (
            _helper(w, plan, helper, name) for name in ("together", "rest", "rests_until")
        )
        before, soon = w.read(rest, zero, I64), w.i64(SOON_US * self.ticks)
        again = w.b.icmp_signed("<", w.read(together, zero, I64), soon)
        more, most = w.b.mul(before, w.i64(4)), w.i64(LONGEST_REST_US * self.ticks)
        longer = w.b.select(w.b.icmp_signed("<", more, most), more, most)
        time = w.b.select(again, longer, w.i64(SHORTEST_REST_US * self.ticks))
        w.b.store(zero, together)
        w.b.store(time, rest)
        _store(w, until, w.b.add(now, time))

    def _awake(self, w: Writer, plan: Value, helper: Value) -> Value:
        """Whether a helper is not dismissed."""
        until = _load(w, _helper(w, plan, helper, "rests_until"))
        return w.b.icmp_signed(">=", self._clock(w), until)

    def _replace(self) -> Any:
        """``replace(plan, place)``: copy the slot at ``place`` to a spare one and use that.

        A spare slot is free unless a helper that was late there has not come back since. There are
        as many as helpers, and each helper can be late in one slot only, so one is free.
        """
        w = self._writer("replace", [PTR, PTR])
        plan, place = w.arguments
        one, zero, threads = w.i64(1), w.i64(0), field(w, plan, "threads")
        chosen = w.variable(_helper(w, plan, one, "spare"))
        with w.loop(one, threads) as candidate:
            spare = _helper(w, plan, candidate, "spare")
            slot, taken = w.read(spare, zero, I64), w.variable(zero)
            with w.loop(one, threads) as helper:
                writes, mark = (
                    w.read(_helper(w, plan, helper, name), zero, I64) for name in ("writes", "mark")
                )
                now = _load(w, _mark(w, pointer(w, plan, "meeting"), helper))
                there = w.b.icmp_signed("==", writes, slot)
                away = w.b.and_(there, w.b.icmp_signed("==", now, mark))
                w.set(taken, w.b.or_(w.get(taken), w.b.zext(away, I64)))
            free = w.b.icmp_signed("==", w.get(taken), zero)
            w.set(chosen, w.b.select(free, spare, w.get(chosen)))
        used, free = w.read(place, zero, I64), w.read(w.get(chosen), zero, I64)
        source, target = (w.b.inttoptr(address, PTR) for address in (used, free))
        w.copy(source, target, w.b.sdiv(field(w, plan, "slot_bytes"), w.i64(8)), I64)
        w.b.store(free, place)
        w.b.store(used, w.get(chosen))
        w.end()
        return w.function

    def _take(self) -> Any:
        """``take``: copy logits and draws from a helper's memory to where they are read."""
        w = self._writer("take", [PTR, I64, I64, I64, I64, I64])
        plan, kind, _, first, end, helper = w.arguments
        private, after = _private(w, plan, helper), w.b.add(helper, w.i64(1))
        (logits, ids), streams = outputs(w, plan, first, private), (first, end)
        with w.b.if_then(w.b.icmp_signed("==", kind, w.i64(HEAD))):
            panels, unit = (
                units(w, self.variant, plan, HEAD, streams),
                w.i64(HEAD_VECTORS * w.lanes),
            )
            low, high = (w.b.mul(x, unit) for x in bounds(w, plan, panels, helper, after))
            V, target = field(w, plan, "padded_vocab"), pointer(w, plan, "logits")
            with w.loop(first, end) as row:
                start = w.b.add(w.b.mul(row, V), low)
                w.copy_vectors(w.at(logits, start), w.at(target, start), w.b.sub(high, low), FLOAT)
        with w.b.if_then(w.b.icmp_signed("==", kind, w.i64(DRAW))):
            count = units(w, self.variant, plan, DRAW, streams)
            low, high = bounds(w, plan, count, helper, after)
            start, target = w.b.add(first, low), pointer(w, plan, "read")
            source, target = (w.at(base, start, I32) for base in (ids, target))
            w.copy(source, target, w.b.sub(high, low), I32)
        w.end()
        return w.function

    def _assist(self) -> None:
        """``assist(plan, helper)``: help with stages until no call is going on for a while."""
        w = self._writer("assist", [PTR, I64], public=True)
        plan, helper = w.arguments
        meeting, last, now = pointer(w, plan, "meeting"), w.variable(w.i64(-1)), self._clock(w)
        mark = _mark(w, meeting, helper)
        # when it last had a stage, since when a call that goes on keeps it waiting, how long a
        # share of its own takes, how long it may wait
        busy, waits = w.variable(now), w.variable(now)
        took, patience = w.variable(w.i64(SHARE_US * self.ticks)), w.variable(w.i64(0))
        nap, came = w.variable(NAP), w.variable(w.i64(0))
        with w.repeat() as leave_if:
            began = self._clock(w)
            with self._new_stage(w, meeting, last) as (number, ready, *stage):
                # the first stage that it sees began without it: what it did then is long done
                bit = w.b.and_(w.b.and_(w.b.lshr(ready, helper), w.i64(1)), w.get(came))
                w.set(came, w.i64(1))
                self._help(w, (plan, *stage), helper, number, bit)
                time_ = w.b.sub(self._clock(w), began)
                self._set_patience(w, (plan, *stage), time_, bit, took, patience)
                # short naps again, but only while it is of use
                half = w.b.ashr(w.get(nap), w.b.trunc(bit, I32))
                w.set(nap, w.b.select(w.b.icmp_signed(">", half, NAP), half, NAP))
                for time_ in (busy, waits):
                    w.set(time_, self._clock(w))
            self._pause(w)
            now = self._clock(w)
            active = _load(w, _stage_field(w, meeting, "active"))
            between = w.b.icmp_signed("==", active, w.i64(0))
            w.set(waits, w.b.select(between, now, w.get(waits)))
            late = w.b.icmp_signed(">", w.b.sub(now, w.get(waits)), w.get(patience))
            rests = w.b.sub(_load(w, _helper(w, plan, helper, "rests_until")), now)
            with w.b.if_then(w.b.or_(late, w.b.icmp_signed(">", rests, w.i64(0)))):
                self._nap(w, mark, nap, rests)
            unused = w.b.sub(now, w.get(busy))
            long = w.b.icmp_signed(">", unused, w.i64(BETWEEN_US * self.ticks))
            leave_if(w.b.and_(between, long))
        _store(w, mark, w.i64(LEFT))
        w.end()

    def _set_patience(
        self,
        w: Writer,
        stage: Sequence[Value],
        time: Value,
        bit: Value,
        took: Value,
        patience: Value,
    ) -> None:
        """Decide how long to wait for the next stage.

        The caller should soon be ready, too, unless it does the whole stage alone. Who naps when
        the next one begins misses that, too.
        """
        plan, kind = stage[:2]
        helped, before = w.b.icmp_signed("!=", bit, w.i64(0)), w.get(took)
        w.set(took, w.b.select(helped, self._mean(w, before, time), before))
        half = w.b.ashr(w.get(took), w.i64(1))
        alone = w.b.mul(w.get(took), field(w, plan, "threads"))
        known = w.b.shl(w.read(self._alone(w, plan, kind), w.i64(0), I64), w.i64(1))
        alone = w.b.select(w.b.icmp_signed(">", known, alone), known, alone)
        rest = w.b.select(helped, w.i64(0), alone)
        w.set(patience, w.b.add(w.b.add(half, rest), w.i64(SPIN_US * self.ticks)))

    def _nap(self, w: Writer, mark: Value, nap: Value, rests: Value) -> None:
        """Sleep as long as it rests, else for longer each time; the caller must do without it."""
        _store(w, mark, w.i64(NAPPING))
        rest = w.b.trunc(w.b.sdiv(rests, w.i64(self.ticks)), I32)
        resting = w.b.icmp_signed(">", rest, w.get(nap))
        time = w.b.select(resting, rest, w.get(nap))
        time = w.b.select(w.b.icmp_signed("<", time, LONGEST_NAP), time, LONGEST_NAP)
        w.call("usleep", I32, [I32], time)
        w.set(nap, w.b.select(resting, w.get(nap), w.b.shl(time, ir.Constant(I32, 1))))

    @contextmanager
    def _new_stage(self, w: Writer, meeting: Value, last: Value) -> Iterator[list[Value]]:
        """A block for a stage after ``last``; it gets the number and the other ``STAGE_FIELDS``."""
        names = STAGE_FIELDS[: STAGE_FIELDS.index("active")]
        number, *stage = (_load(w, _stage_field(w, meeting, name)) for name in names)
        again = _load(w, _stage_field(w, meeting, "number"))
        even = w.b.icmp_signed("==", w.b.and_(number, w.i64(1)), w.i64(0))
        whole = w.b.and_(even, w.b.icmp_signed("==", number, again))
        with w.b.if_then(w.b.and_(whole, w.b.icmp_signed("!=", number, w.get(last)))):
            w.set(last, number)
            yield [number, *stage]

    def _help(
        self, w: Writer, stage: Sequence[Value], helper: Value, number: Value, bit: Value
    ) -> None:
        """Do a share of stage ``number`` if ``bit`` says that the caller counts on it; mark it."""
        plan = stage[0]
        with w.b.if_then(w.b.icmp_signed("!=", bit, w.i64(0))):
            shares = helper, w.b.add(helper, w.i64(1))
            w.b.call(self.work, [*stage, *shares, _private(w, plan, helper)])
        _store(w, _mark(w, pointer(w, plan, "meeting"), helper), w.b.add(number, bit))

    def _pause(self, w: Writer) -> None:
        if self.variant.x86:
            w.call("llvm.x86.sse2.pause", ir.VoidType(), [])

    def _clock(self, w: Writer) -> Value:
        """Ticks since some time in the past."""
        if self.variant.x86:
            return w.call("llvm.readcyclecounter", I64, [])
        with w.b.goto_entry_block():
            pair = w.b.alloca(ir.ArrayType(I64, 2))
        w.call("clock_gettime", I32, [I32, PTR], ir.Constant(I32, time.CLOCK_MONOTONIC), pair)
        seconds, rest = (w.read(pair, w.i64(number), I64) for number in range(2))
        return w.b.add(w.b.mul(seconds, w.i64(1_000_000_000)), rest)


def _stage_field(w: Writer, meeting: Value, name: str) -> Value:
    return w.at(meeting, w.i64(STAGE_FIELDS.index(name)), I64)


def _mark(w: Writer, meeting: Value, helper: Value) -> Value:
    return w.at(meeting, w.b.mul(helper, w.i64(LINE)), I64)


def _helper(w: Writer, plan: Value, helper: Value, name: str) -> Value:
    line = w.b.mul(helper, w.i64(LINE))
    place = w.b.add(line, w.i64(HELPER_FIELDS.index(name)))
    return w.at(pointer(w, plan, "helpers"), place, I64)


def _private(w: Writer, plan: Value, helper: Value) -> Value:
    """The address of a helper's memory."""
    offset = w.b.mul(w.b.sub(helper, w.i64(1)), field(w, plan, "private_bytes"))
    return w.at(pointer(w, plan, "private"), offset, I8)


def _load(w: Writer, address: Value) -> Value:
    return w.b.load_atomic(address, "acquire", 8, typ=I64)


def _store(w: Writer, address: Value, value: Value) -> None:
    w.b.atomic_rmw("xchg", address, value, "seq_cst")
