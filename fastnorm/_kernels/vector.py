"""Vectors whose operators emit instructions, and functions of them that take Python floats as well."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastnorm._jit import INTERPRETED, cpu_features

#: Per-lane arrays keep quantity k of lane c, of at most 1024, at [c + k * LANES]: not all k in the same cache set.
LANES = 1032
SPREAD = 8  # a row's weight comes so many times, as a vector: the most float64 that one has

INT64 = ir.IntType(64)
BYTE_POINTER = ir.IntType(8).as_pointer()
DOUBLE = ir.DoubleType()


class Vector:
    """One value in each lane: the operators emit vector instructions."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder = builder
        self.value = value

    def _constant(self, number: float) -> ir.Value:
        return ir.Constant(self.value.type, [number] * self.value.type.count)

    def _emit(self, name: str, other: Vector | float) -> Vector:
        right = other.value if isinstance(other, Vector) else self._constant(other)
        if isinstance(self.value.type.element, ir.IntType):
            return Vector(self.builder, getattr(self.builder, name.removeprefix("f"))(self.value, right))
        # Contraction to FMA is harmless: these products are exact (docs/exactness.md); see rounded_product for others.
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

    def __neg__(self) -> Vector:
        return Vector(self.builder, self.builder.fneg(self.value))

    def __lt__(self, other: Vector | float) -> Vector:
        return self._compare("<", other)

    def __ge__(self, other: Vector | float) -> Vector:
        return self._compare(">=", other)

    def __eq__(self, other: Any) -> Any:
        return self._compare("==", other)

    def __ne__(self, other: Any) -> Any:
        return Vector(self.builder, self.builder.not_(self._compare("==", other).value))

    def __and__(self, other: Vector | int) -> Vector:
        right = other.value if isinstance(other, Vector) else self._constant(other)
        return Vector(self.builder, self.builder.and_(self.value, right))

    def __or__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.or_(self.value, other.value))


def where(condition: Any, yes: Any, no: Any) -> Any:
    """Choose lane by lane; a number stands for itself in every lane."""
    if not isinstance(condition, Vector):
        return yes if condition else no
    shape = yes if isinstance(yes, Vector) else no if isinstance(no, Vector) else None
    kind = shape.value.type if shape is not None else ir.VectorType(DOUBLE, condition.value.type.count)
    yes, no = (item.value if isinstance(item, Vector) else ir.Constant(kind, [item] * kind.count) for item in (yes, no))
    return Vector(condition.builder, condition.builder.select(condition.value, yes, no))


def smaller(left: Any, right: Any) -> Any:
    """Minimum that keeps ``right`` where ``left`` is NaN."""
    return where(left < right, left, right)


def below(value: Any) -> Any:
    """The number next to the absolute value, towards zero; NaN, which ``smaller`` passes over, for zero itself."""
    if not isinstance(value, Vector):
        return abs(value) if value != 0 else np.nan  # the next number is as good: see docs/exactness.md
    builder, kind = value.builder, value.value.type
    size = 32 if kind.element == ir.FloatType() else 64
    bits = ir.VectorType(ir.IntType(size), kind.count)
    whole = builder.and_(builder.bitcast(value.value, bits), ir.Constant(bits, [(1 << (size - 1)) - 1] * kind.count))
    return Vector(builder, builder.bitcast(builder.add(whole, ir.Constant(bits, [-1] * kind.count)), kind))


def fused(x: Any, y: Any, z: Any) -> Any:
    """``x * y + z``, in one instruction where the processor has it; for products that are exact in either case."""
    if not isinstance(z, Vector):
        return x * y + z
    kind = z.value.type
    name = f"llvm.fmuladd.v{kind.count}f64"
    function = cgutils.get_or_insert_function(z.builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return Vector(z.builder, z.builder.call(function, [x.value, y.value, z.value]))


def rounded_product(x: Any, y: Any) -> Any:
    """``x * y``, rounded, which nothing may be fused with."""
    return Vector(x.builder, x.builder.fmul(x.value, y.value)) if isinstance(x, Vector) else x * y


def remainder(x: Any, y: Any, product: Any) -> Any:
    """What rounding ``product`` took from ``x * y``: by an instruction that fuses, or a function that does the same."""
    if not isinstance(x, Vector):
        exact = Fraction(x) * Fraction(y) - Fraction(product) if math.isfinite(product) else math.nan
        return float(exact)
    kind = x.value.type
    name = f"llvm.fma.v{kind.count}f64"
    function = cgutils.get_or_insert_function(x.builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return Vector(x.builder, x.builder.call(function, [x.value, y.value, (-product).value]))


@intrinsic
def _scalar_remainder(context: Any, x: Any, y: Any, product: Any) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return builder.fma(arguments[0], arguments[1], builder.fneg(arguments[2]))

    return types.float64(types.float64, types.float64, types.float64), codegen


#: ``remainder`` in a kernel that has no vectors.
scalar_remainder = remainder if INTERPRETED else _scalar_remainder


def double(value: Any) -> Any:
    """Widen to float64."""
    if not isinstance(value, Vector):
        return float(value)
    if value.value.type.element == DOUBLE:
        return value
    kind = ir.VectorType(DOUBLE, value.value.type.count)
    return Vector(value.builder, value.builder.fpext(value.value, kind))


def _like(kind: ir.Type, element: ir.Type, number: float | None = None) -> Any:
    """The type of as many elements as ``kind`` has, or a constant of that type."""
    if not isinstance(kind, ir.VectorType):
        return element if number is None else ir.Constant(element, number)
    wide = ir.VectorType(element, kind.count)
    return wide if number is None else ir.Constant(wide, [number] * kind.count)


def from_half(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    """float32 of float16, given as their bits: by an instruction, or moved to their place (docs/exactness.md)."""
    kind, single = bits.type, ir.FloatType()
    if "f16c" in cpu_features():
        return builder.fpext(builder.bitcast(bits, _like(kind, ir.HalfType())), _like(kind, single))

    def whole(number: int) -> ir.Value:
        return _like(kind, ir.IntType(32), number)

    wide = builder.zext(bits, _like(kind, ir.IntType(32)))
    size = builder.shl(builder.and_(wide, whole(0x7FFF)), whole(13))
    value = builder.fmul(builder.bitcast(size, _like(kind, single)), _like(kind, single, 2.0**112))
    special = builder.bitcast(builder.or_(size, whole(0x7F800000)), _like(kind, single))  # infinities and NaNs
    value = builder.select(builder.icmp_unsigned("<", size, whole(0x0F800000)), value, special)
    sign = builder.shl(builder.and_(wide, whole(0x8000)), whole(16))
    return builder.bitcast(builder.or_(builder.bitcast(value, _like(kind, ir.IntType(32))), sign), _like(kind, single))


def from_brain(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    """float32 of bfloat16, which is its upper half."""
    word = ir.IntType(32)
    wide = builder.shl(builder.zext(bits, _like(bits.type, word)), _like(bits.type, word, 16))
    return builder.bitcast(wide, _like(bits.type, ir.FloatType()))


@intrinsic
def _value_at(context: Any, array: Any, index: Any) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        found = builder.load(builder.gep(data, [arguments[1]]))
        if array.dtype in (types.uint16, types.int16):
            found = (from_half if array.dtype == types.uint16 else from_brain)(builder, found)
        return found if found.type == DOUBLE else builder.fpext(found, DOUBLE)

    return types.float64(array, types.int64), codegen


def interpreted_value_at(array: Any, index: int) -> float:
    """``value_at`` in Python."""
    number = array[index : index + 1]
    if array.dtype == np.int16:
        number = (number.astype(np.int32) << 16).view(np.float32)
    return float(number.view(np.float16)[0] if array.dtype == np.uint16 else number[0])


#: ``value_at(array, index)``: an element as float64; uint16 and int16 hold the bits of float16 and bfloat16.
value_at: Any = interpreted_value_at if INTERPRETED else _value_at


def shifted(value: Any, bits: int, signed: bool) -> Any:
    """A whole number without its lowest bits."""
    if not isinstance(value, Vector):
        return value >> bits
    shift = value.builder.ashr if signed else value.builder.lshr
    return Vector(value.builder, shift(value.value, value._constant(bits)))


@intrinsic
def _part(context: Any, array: Any, start: Any, count: Any) -> Any:
    if array.layout != "C":
        raise TypeError(f"only contiguous arrays have parts, not {array}")

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        whole, start, count = arguments
        found = context.make_array(signature.args[0])(context, builder, whole)
        found.data = builder.gep(found.data, [start])
        found.shape = cgutils.pack_array(builder, [count])
        found.nitems = count
        return found._getvalue()

    return array(array, types.int64, types.int64), codegen


#: ``part(array, start, count)``: a slice of a contiguous array without numba's care for its bounds: less to compile.
part = (lambda array, start, count: array[start : start + count]) if INTERPRETED else _part


@intrinsic
def _at(context: Any, parameters: Any, o: Any, c: Any) -> Any:
    if parameters.layout != "C":
        raise TypeError(f"the parameters of a kernel are contiguous, not {parameters}")

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        array, row, lane = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        found = builder.load(builder.gep(data, [lane if parameters.ndim == 1 else row]))
        found.set_metadata("invariant.load", builder.module.add_metadata([]))  # no store changes it
        return found

    return parameters.dtype(parameters, types.int64, types.int64), codegen


#: ``at(parameters, o, c)``: the one of lane c, of shape (lanes,), or of a whole row o, of shape (outer, 1).
at = (lambda values, o, c: values[c] if values.ndim == 1 else values[o, 0]) if INTERPRETED else _at


@intrinsic
def _not_inlined(context: Any) -> Any:
    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


#: Called in a kernel, it keeps LLVM from copying that kernel into its callers: half the time to compile.
not_inlined = (lambda: None) if INTERPRETED else _not_inlined
