"""Loops down the rows of a tile with every accumulator in a vector register, from a step in Python arithmetic.

A *step* is a function of one value, some constants and the accumulators: it returns the new accumulators. ``row_loop``
turns it into code that walks down the rows, one vector of neighbouring lanes at a time. LLVM's own vectoriser cannot do
this: it keeps the accumulators of a column loop in memory and spills (measured: 5.5 GB/s a core in cache, against 14
GB/s here). Where kernels are interpreted, the same step runs on Python floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastnorm._jit import INTERPRETED, vector_bytes
from fastnorm._kernels.vector import (
    BYTE_POINTER,
    DOUBLE,
    INT64,
    LANES,
    SPREAD,
    Vector,
    from_brain,
    from_half,
    interpreted_value_at,
)


class _Ahead(NamedTuple):
    """What to prefetch beside each row: ``place + (lane & mask)``; ``step`` and ``turn`` lead to the next."""

    place: ir.Value
    step: ir.Value
    lane: ir.Value
    turn: ir.Value
    mask: ir.Value


def _ahead(
    builder: ir.IRBuilder,
    block: ir.Value,
    rows: ir.Value,
    stride: ir.Value,
    lanes: ir.Value,
    lane: ir.Value,
    width: int,
) -> _Ahead:
    """What to prefetch of the block ahead while the lanes at ``lane`` of this one are done.

    A contiguous block is walked in the order of memory, so that the processor's own prefetchers help: each vector of
    lanes takes its share. Of any other it is the same lanes, row by row; but rows that are a power of two apart share
    a few places of the caches and of the memory, so there each row is one vector further.
    """
    zero, all_bits = INT64(0), INT64(-1)

    def power_of_two(value: ir.Value) -> ir.Value:
        return builder.icmp_signed("==", builder.and_(value, builder.sub(value, INT64(1))), zero)

    in_order = builder.icmp_signed("==", stride, lanes)
    crowded = builder.icmp_signed("==", builder.and_(stride, INT64(511)), zero)
    turned = builder.and_(builder.not_(in_order), builder.and_(crowded, power_of_two(lanes)))
    return _Ahead(
        builder.select(in_order, builder.add(block, builder.mul(lane, rows)), block),
        builder.select(in_order, INT64(width), stride),
        builder.select(in_order, zero, lane),
        builder.select(turned, INT64(width), zero),
        builder.select(turned, builder.sub(lanes, INT64(1)), all_bits),
    )


@contextmanager
def _rows(
    builder: ir.IRBuilder,
    x: ir.Value,
    first: ir.Value,
    rows: ir.Value,
    stride: ir.Value,
    ahead: _Ahead,
) -> Iterator[tuple[ir.Value, ir.Value]]:
    """A loop over at least one row: yields the index of its element and the rows that are left, itself included."""
    position = cgutils.alloca_once_value(builder, first)
    place = cgutils.alloca_once_value(builder, ahead.place)
    lane = cgutils.alloca_once_value(builder, ahead.lane)
    left = cgutils.alloca_once_value(builder, rows)
    body, after = builder.append_basic_block("rows"), builder.append_basic_block("rows.end")
    builder.branch(body)
    builder.position_at_end(body)
    here = builder.load(position)
    i32 = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [BYTE_POINTER, i32, i32, i32])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [BYTE_POINTER], kind)
    there = builder.add(builder.load(place), builder.and_(builder.load(lane), ahead.mask))
    builder.call(prefetch, [builder.bitcast(builder.gep(x, [there]), BYTE_POINTER), i32(0), i32(3), i32(1)])
    yield here, builder.load(left)
    builder.store(builder.add(here, stride), position)
    builder.store(builder.add(builder.load(place), ahead.step), place)
    builder.store(builder.add(builder.load(lane), ahead.turn), lane)
    builder.store(builder.sub(builder.load(left), INT64(1)), left)
    again = builder.cbranch(builder.icmp_signed(">", builder.load(left), INT64(0)), body, after)
    again.set_metadata("llvm.loop", _not_unrolled(builder.module))
    builder.position_at_end(after)


def _not_unrolled(module: ir.Module) -> Any:
    """Metadata of a loop that stays as it is: two rows at once do not fit the registers."""
    disable = module.add_metadata(["llvm.loop.unroll.disable"])
    node = module.add_metadata([disable, module.add_metadata([f"fastnorm.{len(module.metadata)}"])])
    node.operands = (node, disable)  # such a node names itself
    return node


def _whole(after: Any, before: Any) -> Any:
    """How many units lie between two numbers of one binade: the difference of their bits."""
    if isinstance(after, int):
        return after - before
    if not isinstance(after, Vector):
        return int(np.float64(after).view(np.int64)) - int(np.float64(before).view(np.int64))
    builder, wide = after.builder, ir.VectorType(INT64, after.value.type.count)
    if isinstance(after.value.type.element, ir.IntType):
        more = (after - before).value
        return builder.sext(more, wide) if more.type != wide else more
    return builder.sub(builder.bitcast(after.value, wide), builder.bitcast(before.value, wide))


def _number(value: Vector) -> ir.Value:
    """Small whole numbers as integers: AVX2 has no instruction for that."""
    ones = Vector(value.builder, ir.Constant(value.value.type, [2.0**52] * value.value.type.count))
    return _whole(value + ones, ones)


def _address(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.bitcast(builder.gep(base, [index]), kind.as_pointer())


def _load(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
    value = builder.load(_address(builder, base, index, kind))
    value.align = _size(kind.element)
    return value


def _store(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, value: ir.Value) -> None:
    builder.store(value, _address(builder, base, index, value.type)).align = 8


def _add_to(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, more: ir.Value) -> None:
    _store(builder, base, index, builder.add(_load(builder, base, index, more.type), more))


def _size(element: ir.Type) -> int:
    """Bytes of a number."""
    return element.width // 8 if isinstance(element, ir.IntType) else 4 if element == ir.FloatType() else 8


class RowLoop:
    """A step with what surrounds it: where the sums start, the window, and the verdict.

    A sum is described by ``(power, unit, twice, halves)``: its unit is ``2**unit * scale**power`` with the power of two
    ``scale`` of a lane, and it starts at ``halves * 2**51`` units, so that it stays in a binade where floats are a unit
    apart. ``window`` has ``(power, number)`` for each constant ``number * scale**power``.

    Per-lane arrays: ``scales``; ``sums`` takes the sums in their units; ``flags`` one number a lane: 0 when its block
    was added. ``step(value, constants, state)`` returns the new state: the sums and what follows them. ``finish`` gets
    ``(constants, sums, rest)``, where ``rest`` follows the sums, and returns ``(keep, flag, tally)``: whether the sums
    count (None: always), what to put into ``flags[c]`` and what to add to ``flags[c + LANES]``. A ``rare`` loop takes
    lanes that fill no vector one by one, not in halves: less to compile.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        table: NDArray[np.int64],
        window: Sequence[tuple[int, float]],
        rest: Sequence[Any],
        finish: Any,
        rare: bool = False,
    ) -> None:
        self.sums = len(table)
        self.starts = [(int(power), float(halves) * 2.0 ** (int(unit) + 51)) for power, unit, _, halves in table]
        self.window = tuple(window)
        self.rest = tuple(rest)
        self.finish = finish
        self.step = step
        self.rare = rare
        self.widen: Callable[[ir.IRBuilder, ir.Value], ir.Value] | None = None

    def _scaled(self, scale: Any) -> tuple[list[Any], list[Any]]:
        """Where the sums start, and the constants of the window."""
        powers = {1: scale, 2: scale * scale}
        starts, window = ([powers[power] * number for power, number in part] for part in (self.starts, self.window))
        return starts, window

    def interpret(self, x: Any, *arguments: Any) -> int:
        """The loop in plain Python, lane by lane: how many lanes have a flag."""
        start, rows, stride, first, stop, _, scales, sums, flags, *weights = arguments
        flagged = 0
        for c in range(first, stop):
            starts, constants = self._scaled(float(scales[c]))
            state = starts + list(self.rest)
            for r in range(rows):
                value = [interpreted_value_at(x, start + r * stride + c), *(float(w[r * SPREAD]) for w in weights)]
                state = self.step(*value, constants, state)
            keep, flag, tally = self.finish(constants, state[: self.sums], state[self.sums :])
            if keep is None or keep:
                for k in range(self.sums):
                    sums[c + k * LANES] += _whole(state[k], starts[k])
            flags[c] = int(flag)
            flags[c + LANES] += int(tally)
            flagged += flags[c] != 0
        return flagged

    def emit(self, builder: ir.IRBuilder, arguments: Sequence[ir.Value], element: ir.Type) -> ir.Value:
        """The loop as vector code: full vectors first, then halves down to one lane."""
        first, stop = arguments[4:6]
        lane = cgutils.alloca_once_value(builder, first)
        flagged = cgutils.alloca_once_value(builder, INT64(0))
        width = self._width(element)
        while width:
            body = builder.append_basic_block(f"lanes{width}")
            after = builder.append_basic_block(f"after{width}")
            count = INT64(width)

            def fits(count: ir.Value = count) -> ir.Value:
                return builder.icmp_signed("<=", builder.add(builder.load(lane), count), stop)

            builder.cbranch(fits(), body, after)
            builder.position_at_end(body)
            c = builder.load(lane)
            any_flag = self._emit_strip(builder, arguments, c, element, width)
            builder.store(builder.add(builder.load(flagged), any_flag), flagged)
            builder.store(builder.add(c, count), lane)
            builder.cbranch(fits(), body, after)
            builder.position_at_end(after)
            width = int(width > 1) if self.rare else width // 2
        return builder.load(flagged)

    def _width(self, element: ir.Type) -> int:
        return vector_bytes() // (4 if element != DOUBLE and self.sums <= 4 else 8)  # else: spills

    def _emit_strip(
        self, builder: ir.IRBuilder, arguments: Sequence[ir.Value], c: ir.Value, element: ir.Type, width: int
    ) -> ir.Value:
        *place, scales, sums, flags = arguments[:10]
        doubles, integers = ir.VectorType(DOUBLE, width), ir.VectorType(INT64, width)
        starts, constants = self._scaled(Vector(builder, _load(builder, scales, c, doubles)))
        state = [*starts]
        for initial in self.rest:
            kind = ir.VectorType(ir.FloatType(), width) if isinstance(initial, np.float32) else doubles
            state.append(Vector(builder, ir.Constant(kind, [float(initial)] * width)))
        state = self._emit_rows(builder, [*place, *arguments[10:]], c, element, constants, state)
        keep, flag, tally = self.finish(constants, state[: self.sums], state[self.sums :])
        for k in range(self.sums):
            whole = _whole(state[k], starts[k])
            if keep is not None:
                whole = builder.select(keep.value, whole, ir.Constant(integers, [0] * width))
            _add_to(builder, sums, builder.add(c, INT64(k * LANES)), whole)
        flag = _number(flag)
        _store(builder, flags, c, flag)
        if isinstance(tally, Vector):
            _add_to(builder, flags, builder.add(c, INT64(LANES)), _number(tally))
        raised = builder.icmp_signed("!=", flag, ir.Constant(integers, [0] * width))
        return builder.zext(builder.bitcast(raised, ir.IntType(width)), INT64)

    def _emit_rows(
        self,
        builder: ir.IRBuilder,
        arguments: Sequence[ir.Value],
        c: ir.Value,
        element: ir.Type,
        constants: Any,
        state: Sequence[Vector],
    ) -> list[Vector]:
        """The step, row after row: the state in the end."""
        x, start, rows, stride, first, stop, ahead, *weights = arguments
        width = state[0].value.type.count
        slots = [cgutils.alloca_once_value(builder, vector.value) for vector in state]
        block = builder.add(builder.add(start, ahead), first)
        soon = _ahead(builder, block, rows, stride, builder.sub(stop, first), builder.sub(c, first), width)
        with _rows(builder, x, builder.add(start, c), rows, stride, soon) as (here, left):
            value = [self._widened(Vector(builder, _load(builder, x, here, ir.VectorType(element, width))))]
            if weights:
                row = builder.mul(builder.sub(rows, left), INT64(SPREAD))
                value.append(Vector(builder, _load(builder, weights[0], row, ir.VectorType(DOUBLE, width))))
            before = [Vector(builder, builder.load(slot)) for slot in slots]
            for slot, new in zip(slots, self.step(*value, constants, before), strict=True):
                builder.store(new.value, slot)
        return [Vector(builder, builder.load(slot)) for slot in slots]

    def _widened(self, value: Vector) -> Vector:
        """What a step takes for a value: float32 of uint16 and int16, which hold bits of float16 and bfloat16."""
        if self.widen is None:
            return value
        return Vector(value.builder, self.widen(value.builder, value.value))

    def narrow(self) -> dict[str, RowLoop]:
        """The same loop for float32 and for 16-bit floats."""
        half, brain = copy(self), copy(self)
        half.widen, brain.widen = from_half, from_brain
        return {"float32": self, "uint16": half, "int16": brain}


class WholeLoop(RowLoop):
    """The same for integers, of which a block's sums are always exact: no window, no scale, no flags.

    The sums are whole numbers of so many ``bits``, or float64 (``bits`` 0) that start as above, with a scale of 1.
    """

    def __init__(self, step: Callable[..., Any], table: NDArray[np.int64], bits: int, signed: bool) -> None:
        super().__init__(step, table, (), (), None)
        self.bits = bits
        self.signed = signed
        self.begin = [0] * self.sums if bits else [number for _, number in self.starts]

    def interpret(self, x: Any, *arguments: Any) -> int:
        start, rows, stride, first, stop, _, sums = arguments
        kind = int if self.bits else float
        for c in range(first, stop):
            state = self.begin
            for r in range(rows):
                state = self.step(kind(x[start + r * stride + c]), None, state)
            for k in range(self.sums):
                sums[c + k * LANES] += _whole(state[k], self.begin[k])
        return 0

    def _width(self, element: ir.Type) -> int:
        return vector_bytes() // (2 if self.bits == 32 else 4 if not self.bits else 8)  # two vectors where they fit

    def _emit_strip(
        self, builder: ir.IRBuilder, arguments: Sequence[ir.Value], c: ir.Value, element: ir.Type, width: int
    ) -> ir.Value:
        *place, sums = arguments
        kind = ir.VectorType(ir.IntType(self.bits) if self.bits else DOUBLE, width)
        starts = [Vector(builder, ir.Constant(kind, [number] * width)) for number in self.begin]
        state = self._emit_rows(builder, place, c, element, None, starts)
        for k in range(self.sums):
            _add_to(builder, sums, builder.add(c, INT64(k * LANES)), _whole(state[k], starts[k]))
        return INT64(0)

    def _widened(self, value: Vector) -> Vector:
        builder, width = value.builder, value.value.type.count
        if not self.bits:
            convert = builder.sitofp if self.signed else builder.uitofp
            return Vector(builder, convert(value.value, ir.VectorType(DOUBLE, width)))
        if value.value.type.element.width == self.bits:
            return value
        convert = builder.sext if self.signed else builder.zext
        return Vector(builder, convert(value.value, ir.VectorType(ir.IntType(self.bits), width)))


def row_loop(**by_element: RowLoop) -> Any:
    """One kernel for each element type of ``x``: ``row_loop(float32=..., float64=...)``.

    The kernel's arguments are ``(x, start, rows, stride, first, stop, ahead, scales, sums, flags)``: lane c of row r is
    ``x[start + r * stride + c]``, lanes ``first:stop`` are done, and memory ``ahead`` elements further is prefetched.
    Weights may follow: row r has ``weights[r * SPREAD : (r + 1) * SPREAD]``, all equal. For integers, ``sums`` alone
    follows ``ahead``.
    """
    if INTERPRETED:
        return lambda x, *rest: by_element[x.dtype.name].interpret(x, *rest)

    @intrinsic
    def kernel(context: Any, x: Any, *rest: Any) -> Any:
        kinds = [kind if isinstance(kind, types.Array) else types.int64 for kind in rest]

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            values = [arguments[0], *cgutils.unpack_tuple(builder, arguments[1])]
            items = [
                context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
                for kind, value in zip((x, *kinds), values, strict=True)
            ]
            return by_element[x.dtype.name].emit(builder, items, context.get_data_type(x.dtype))

        return types.int64(x, types.StarArgTuple.from_types(kinds)), codegen

    return kernel
