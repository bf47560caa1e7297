"""Row loops with every accumulator in a vector register, from arithmetic that is also plain Python.

A *step* is a Python function of one value, some constants and the accumulators: it returns the new accumulators.
``row_loop`` turns it into code that walks down the rows of a tile, one vector of neighbouring lanes at a time. LLVM's
own vectoriser cannot do this: it keeps the accumulators of a column loop in memory and spills (measured: 5.5 GB/s a
core in cache, against 14 GB/s here). Where kernels are interpreted, the same step runs on Python floats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnorm._jit import INTERPRETED, vector_bytes

LANES = 256  # lanes that a tile may have; per-lane arrays keep quantity k of lane c at [c + k * LANES]

_INT64 = ir.IntType(64)
_BYTE_POINTER = ir.IntType(8).as_pointer()
_DOUBLE = ir.DoubleType()
_ROUND = 1.5 * 2.0**54  # adding it rounds to a multiple of 4; see _integer


class Vector:
    """One value in each lane: the operators emit vector instructions."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder = builder
        self.value = value

    def _constant(self, number: float) -> ir.Value:
        return ir.Constant(self.value.type, [number] * self.value.type.count)

    def _emit(self, name: str, other: Vector | float) -> Vector:
        right = other.value if isinstance(other, Vector) else self._constant(other)
        # Contraction to FMA is harmless: nothing in a step rounds (docs/exactness.md).
        return Vector(self.builder, getattr(self.builder, name)(self.value, right, flags=("contract",)))

    def _compare(self, sign: str, other: Vector | float) -> Vector:
        right = other.value if isinstance(other, Vector) else self._constant(other)
        return Vector(self.builder, self.builder.fcmp_ordered(sign, self.value, right))

    def __add__(self, other: Vector | float) -> Vector:
        return self._emit("fadd", other)

    def __sub__(self, other: Vector | float) -> Vector:
        return self._emit("fsub", other)

    def __mul__(self, other: Vector | float) -> Vector:
        return self._emit("fmul", other)

    def __lt__(self, other: Vector | float) -> Vector:
        return self._compare("<", other)

    def __ge__(self, other: Vector | float) -> Vector:
        return self._compare(">=", other)

    def __eq__(self, other: Any) -> Any:
        return self._compare("==", other)

    def __ne__(self, other: Any) -> Any:
        return Vector(self.builder, self.builder.not_(self._compare("==", other).value))

    def __and__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.and_(self.value, other.value))

    def __or__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.or_(self.value, other.value))


def where(condition: Any, yes: Any, no: Any) -> Any:
    """Choose lane by lane; a number stands for itself in every lane."""
    if not isinstance(condition, Vector):
        return yes if condition else no
    shape = yes if isinstance(yes, Vector) else no if isinstance(no, Vector) else None
    kind = shape.value.type if shape is not None else ir.VectorType(_DOUBLE, condition.value.type.count)
    yes, no = (item.value if isinstance(item, Vector) else ir.Constant(kind, [item] * kind.count) for item in (yes, no))
    return Vector(condition.builder, condition.builder.select(condition.value, yes, no))


def larger(left: Any, right: Any) -> Any:
    """Maximum that keeps ``right`` where ``left`` is NaN."""
    return where(right < left, left, right)


def smaller(left: Any, right: Any) -> Any:
    """Minimum that keeps ``right`` where ``left`` is NaN."""
    return where(left < right, left, right)


def not_zero(value: Any, size: Any) -> Any:
    """``size`` where ``value`` is not zero, else NaN, which ``smaller`` passes over."""
    if not isinstance(value, Vector):
        return size if value != 0 else np.nan
    builder, kind = size.builder, size.value.type
    bits = ir.VectorType(ir.IntType(32 if kind.element == ir.FloatType() else 64), kind.count)
    zero = builder.sext((value == 0.0).value, bits)  # all ones is a NaN: one instruction, no constant
    return Vector(builder, builder.bitcast(builder.or_(zero, builder.bitcast(size.value, bits)), kind))


def magnitude(value: Any) -> Any:
    """Absolute value."""
    if not isinstance(value, Vector):
        return abs(value)
    kind = value.value.type
    name = f"llvm.fabs.v{kind.count}f{32 if kind.element == ir.FloatType() else 64}"
    function = cgutils.get_or_insert_function(value.builder.module, ir.FunctionType(kind, [kind]), name)
    return Vector(value.builder, value.builder.call(function, [value.value]))


def double(value: Any) -> Any:
    """Widen to float64."""
    if not isinstance(value, Vector):
        return float(value)
    if value.value.type.element == _DOUBLE:
        return value
    kind = ir.VectorType(_DOUBLE, value.value.type.count)
    return Vector(value.builder, value.builder.fpext(value.value, kind))


def _integer(value: Vector) -> ir.Value:
    """Whole numbers up to 2**53 in absolute value, as int64: AVX2 has no such instruction.

    Split at a multiple of 4, so that each part is the mantissa of a sum with a power of two.
    """
    builder = value.builder
    wide = ir.VectorType(_INT64, value.value.type.count)

    def bits(item: Vector) -> ir.Value:
        return builder.bitcast(item.value, wide)

    def constant(number: float) -> ir.Value:
        return ir.Constant(wide, [int(np.float64(number).view(np.int64))] * wide.count)

    high = value + _ROUND
    low = (value - (high - _ROUND)) + _ROUND / 4
    fours = builder.sub(bits(high), constant(_ROUND))
    ones = builder.sub(bits(low), constant(_ROUND / 4))
    return builder.add(builder.shl(fours, ir.Constant(wide, [2] * wide.count)), ones)


@contextmanager
def _rows(
    builder: ir.IRBuilder,
    x: ir.Value,
    first: ir.Value,
    rows: ir.Value,
    stride: ir.Value,
    ahead: ir.Value,
) -> Iterator[ir.Value]:
    """A loop over at least one row: yields the index of its element, after a prefetch of the one ``ahead`` of it."""
    position = cgutils.alloca_once_value(builder, first)
    left = cgutils.alloca_once_value(builder, rows)
    body, after = builder.append_basic_block("rows"), builder.append_basic_block("rows.end")
    builder.branch(body)
    builder.position_at_end(body)
    here = builder.load(position)
    i32 = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [_BYTE_POINTER, i32, i32, i32])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [_BYTE_POINTER], kind)
    soon = builder.bitcast(builder.gep(x, [builder.add(here, ahead)]), _BYTE_POINTER)
    builder.call(prefetch, [soon, i32(0), i32(3), i32(1)])
    yield here
    builder.store(builder.add(here, stride), position)
    builder.store(builder.sub(builder.load(left), _INT64(1)), left)
    again = builder.cbranch(builder.icmp_signed(">", builder.load(left), _INT64(0)), body, after)
    again.set_metadata("llvm.loop", _not_unrolled(builder.module))
    builder.position_at_end(after)


def _not_unrolled(module: ir.Module) -> Any:
    """Metadata of a loop that stays as it is: two rows at once do not fit the registers."""
    disable = module.add_metadata(["llvm.loop.unroll.disable"])
    node = module.add_metadata([disable, module.add_metadata([f"fastnorm.{len(module.metadata)}"])])
    node.operands = (node, disable)  # such a node names itself
    return node


class RowLoop:
    """A step with what surrounds it: the constants of a lane, the sums that start at 0, and the verdict.

    Per-lane arrays: ``grid`` holds the constants, then one factor a sum which makes it a whole number;
    ``sums`` takes the whole numbers; ``flags`` one number a lane: 0 when its block was added. ``step(value, constants,
    state)`` returns the new state: the sums and what follows them, or, where a ``watch`` does the latter in a loop of
    its own (so that all fits the registers), the sums alone. ``finish`` gets
    ``(constants, sums, rest)``, where ``rest`` follows the sums, and returns ``(keep, flag, tally)``:
    whether the sums count (None: always), what to put into ``flags[c]`` and what to add to ``flags[c + LANES]``.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        constants: int,
        sums: int,
        rest: Sequence[Any],
        finish: Callable[..., Any],
        watch: Callable[..., Any] | None = None,
    ) -> None:
        everything = slice(0, sums + len(rest))
        self.loops = [(step, everything)] if watch is None else [(step, slice(0, sums)), (watch, slice(sums, None))]
        self.constants = constants
        self.sums = sums
        self.rest = tuple(rest)
        self.finish = finish

    def interpret(
        self,
        x: Any,
        start: int,
        rows: int,
        stride: int,
        first: int,
        stop: int,
        ahead: int,
        grid: Any,
        sums: Any,
        flags: Any,
    ) -> int:
        """The loop in plain Python, lane by lane: how many lanes of ``first:stop`` have a flag."""
        flagged = 0
        for c in range(first, stop):
            per_lane = [float(grid[c + k * LANES]) for k in range(self.constants + self.sums)]
            constants, factors = per_lane[: self.constants], per_lane[self.constants :]
            state = [0.0] * self.sums + list(self.rest)
            for step, part in self.loops:
                for r in range(rows):
                    state[part] = step(float(x[start + r * stride + c]), constants, state[part])
            keep, flag, tally = self.finish(constants, state[: self.sums], state[self.sums :])
            if keep is None or keep:
                for k in range(self.sums):
                    sums[c + k * LANES] += int(state[k] * factors[k])
            flags[c] = int(flag)
            flags[c + LANES] += int(tally)
            flagged += flags[c] != 0
        return flagged

    def emit(self, builder: ir.IRBuilder, arguments: Sequence[ir.Value], element: ir.Type) -> ir.Value:
        """The loop as vector code: full vectors first, then halves down to one lane."""
        x, start, rows, stride, first, stop, ahead, grid, sums, flags = arguments
        lane = cgutils.alloca_once_value(builder, first)
        flagged = cgutils.alloca_once_value(builder, _INT64(0))
        width = vector_bytes() // (4 if element == ir.FloatType() and self.sums <= 4 else 8)  # else: spills
        while width:
            body = builder.append_basic_block(f"lanes{width}")
            after = builder.append_basic_block(f"after{width}")
            count = _INT64(width)

            def fits(count: ir.Value = count) -> ir.Value:
                return builder.icmp_signed("<=", builder.add(builder.load(lane), count), stop)

            builder.cbranch(fits(), body, after)
            builder.position_at_end(body)
            c = builder.load(lane)
            any_flag = self._emit_strip(builder, x, start, rows, stride, c, ahead, grid, sums, flags, element, width)
            builder.store(builder.add(builder.load(flagged), any_flag), flagged)
            builder.store(builder.add(c, count), lane)
            builder.cbranch(fits(), body, after)
            builder.position_at_end(after)
            width = width // 2 if len(self.loops) == 1 else int(width > 1)  # rare loops: less to compile
        return builder.load(flagged)

    def _emit_strip(
        self,
        builder: ir.IRBuilder,
        x: ir.Value,
        start: ir.Value,
        rows: ir.Value,
        stride: ir.Value,
        c: ir.Value,
        ahead: ir.Value,
        grid: ir.Value,
        sums: ir.Value,
        flags: ir.Value,
        element: ir.Type,
        width: int,
    ) -> ir.Value:
        doubles = ir.VectorType(_DOUBLE, width)
        integers = ir.VectorType(_INT64, width)

        def address(base: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
            return builder.bitcast(builder.gep(base, [index]), kind.as_pointer())

        def at(k: int) -> ir.Value:
            return builder.add(c, _INT64(k * LANES))

        def load(base: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
            value = builder.load(address(base, index, kind))
            value.align = 4 if kind.element == ir.FloatType() else 8
            return value

        def add_to(base: ir.Value, index: ir.Value, more: ir.Value) -> None:
            store(base, index, builder.add(load(base, index, integers), more))

        def store(base: ir.Value, index: ir.Value, value: ir.Value) -> None:
            builder.store(value, address(base, index, value.type)).align = 8

        constants = [Vector(builder, load(grid, at(k), doubles)) for k in range(self.constants)]
        slots = []
        for initial in (0.0,) * self.sums + self.rest:
            kind = ir.VectorType(ir.FloatType(), width) if isinstance(initial, np.float32) else doubles
            slot = cgutils.alloca_once(builder, kind)
            builder.store(ir.Constant(kind, [float(initial)] * width), slot)
            slots.append(slot)
        first = builder.add(start, c)
        for step, part in self.loops:
            with _rows(builder, x, first, rows, stride, ahead) as here:
                value = Vector(builder, load(x, here, ir.VectorType(element, width)))
                state = [Vector(builder, builder.load(slot)) for slot in slots[part]]
                for slot, new in zip(slots[part], step(value, constants, state), strict=True):
                    builder.store(new.value, slot)
        state = [Vector(builder, builder.load(slot)) for slot in slots]
        keep, flag, tally = self.finish(constants, state[: self.sums], state[self.sums :])
        for k in range(self.sums):
            factor = Vector(builder, load(grid, at(self.constants + k), doubles))
            whole = _integer(state[k] * factor)
            if keep is not None:
                whole = builder.select(keep.value, whole, ir.Constant(integers, [0] * width))
            add_to(sums, at(k), whole)
        flag = _integer(flag)
        store(flags, c, flag)
        if isinstance(tally, Vector):
            add_to(flags, at(1), _integer(tally))
        raised = builder.icmp_signed("!=", flag, ir.Constant(integers, [0] * width))
        return builder.zext(builder.bitcast(raised, ir.IntType(width)), _INT64)


def row_loop(**by_element: RowLoop) -> Any:
    """One kernel for each element type of ``x``: ``row_loop(float32=..., float64=...)``.

    The kernel's arguments are ``(x, start, rows, stride, first, stop, ahead, grid, sums, flags)``: lane c of row r is
    ``x[start + r * stride + c]``, lanes ``first:stop`` are done, and memory ``ahead`` elements further is prefetched.
    """
    if INTERPRETED:
        return lambda x, *rest: by_element[x.dtype.name].interpret(x, *rest)

    @intrinsic
    def kernel(
        context: Any,
        x: Any,
        start: Any,
        rows: Any,
        stride: Any,
        first: Any,
        stop: Any,
        ahead: Any,
        grid: Any,
        sums: Any,
        flags: Any,
    ) -> Any:
        loop = by_element[x.dtype.name]

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            items = []
            for kind, argument in zip(signature.args, arguments, strict=True):
                is_array = isinstance(kind, types.Array)
                items.append(context.make_array(kind)(context, builder, argument).data if is_array else argument)
            return loop.emit(builder, items, context.get_data_type(x.dtype))

        number = types.int64
        return number(x, number, number, number, number, number, number, grid, sums, flags), codegen

    return kernel


@intrinsic
def _not_inlined(context: Any) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


#: Called in a kernel, it keeps LLVM from copying that kernel into its callers: half the time to compile.
not_inlined = (lambda: None) if INTERPRETED else _not_inlined
