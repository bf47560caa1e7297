"""Laws of moments that were written by another hand: equal moments, or an error that says what is wrong."""

import contextlib
import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnorm import Moments

X = np.array([[1.0, 2.0, math.nan], [3.0, 4.5, 7.0]])
MOMENTS = Moments.of(X)
WEIGHTED = Moments.of(X, weights=[0.5, 0.25])
ODD = [None, True, -1, 0, 7, 2.5, 1e300, math.nan, 10**12, -(10**12), 10**30, "x", "<u8", "weight", [], {}, [-3], [1.5]]
SHAPES = [[1, -3, -1], [-3], [3, 0], [3.7], ["3"], [10**12], []]


def pieces(moments):
    """The header and the arrays of the bytes of some moments."""
    data = moments.to_bytes()
    end = 21 + int.from_bytes(data[17:21], "little")
    return json.loads(data[21:end]), data[end:-32]


def sealed(header, body):
    """Bytes with this header (JSON, or bytes as they are) and these arrays, and the right checksum."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    data = b"fastnorm moments\n" + len(text).to_bytes(4, "little") + text + body
    return data + hashlib.sha256(data).digest()


def changes(value):
    """JSON values like this one, with one entry, however deep, replaced or left out."""
    yield from ODD
    if isinstance(value, dict):
        for key in value:
            yield {name: item for name, item in value.items() if name != key}
            yield from ({**value, key: item} for item in changes(value[key]))
    if isinstance(value, list):
        yield value + value
        for place in range(len(value)):
            yield from ([*value[:place], item, *value[place + 1 :]] for item in changes(value[place]))


def assert_refused(read, given_to_it):
    with pytest.raises(ValueError, match=r"; |: make (it|them) again|not fastnorm moments"):
        read(given_to_it)


@pytest.mark.parametrize("moments", [MOMENTS, WEIGHTED], ids=["counted", "weighted"])
def test_a_changed_header_is_an_error_or_has_moments_of_its_own(moments):
    """Equal moments have equal bytes: what is read, though the checksum is right, is what would have been written."""
    header, body = pieces(moments)
    assert moments == Moments.from_bytes(sealed(header, body))
    for changed in changes(header):
        data = sealed(changed, body)
        with contextlib.suppress(ValueError):
            assert data == Moments.from_bytes(data).to_bytes()


def test_other_bytes_are_no_moments():
    """More or fewer arrays, spaces, another order, what is no JSON: refused, though the checksum is right."""
    header, body = pieces(MOMENTS)
    for changed in (body + b"\0", body[:-4], b"", body + body):
        assert_refused(Moments.from_bytes, sealed(header, changed))
    swapped = {**header, "arrays": header["arrays"][::-1]}
    for changed in (json.dumps(header).encode(), b"\xff{", b"[" * 100_000, b"", swapped, {**header, "more": 1}):
        assert_refused(Moments.from_bytes, sealed(changed, body))
    for shape in SHAPES:
        assert_refused(Moments.from_bytes, sealed({**header, "shape": shape}, b""))


@pytest.mark.parametrize("side", ["above", "below"])
def test_limbs_that_say_nothing_are_no_moments(side):
    """The same sums of squares, written with one limb more, are another form of equal moments: refused."""
    header, body = pieces(MOMENTS)
    *others, (name, kind, rows, exponent) = header["arrays"]
    zeros, first = bytes(4 * X.shape[1]), len(body) - 4 * rows * X.shape[1]
    if side == "above":
        body += zeros
    else:
        body, exponent = body[:first] + zeros + body[first:], exponent - 32
    longer = {**header, "arrays": [*others, [name, kind, rows + 1, exponent]]}
    assert_refused(Moments.from_bytes, sealed(longer, body))


@pytest.mark.parametrize("wrong", [None, 3, "abc", [1, 2], {}])
def test_what_are_no_bytes_are_named(wrong):
    """The type, and what to pass."""
    with pytest.raises(TypeError, match=rf"{type(wrong).__name__} holds no moments; pass the bytes"):
        Moments.from_bytes(wrong)


@pytest.mark.parametrize("moments", [MOMENTS, WEIGHTED], ids=["counted", "weighted"])
def test_a_dict_gives_its_moments_or_an_error(moments):
    """Whatever is changed in it: no other error, and what is read is a value like any other."""
    as_dict = moments.to_dict()
    for changed in changes(as_dict):
        with contextlib.suppress(ValueError):
            read = Moments.from_dict(changed)
            assert read == Moments.from_bytes(read.to_bytes())


@pytest.mark.parametrize(
    "change",
    [
        *({"shape": shape} for shape in SHAPES),
        {"rows": 2.5},
        {"rows": 1 << 63},
        {"rows": -1},
        {"missing": [0, 0, 0.5]},
        {"missing": ["0", "0", "1"]},
        {"sum": None},
        {"sum_of_squares": None},
        *({"sum": {"exponent": e, "values": ["0x1"] * 3}} for e in (31, 32.0, "32", 32 * 10**9, -32 * 10**12, 10**30)),
    ],
    ids=str,
)
def test_a_dict_of_no_moments_is_an_error(change):
    """Fractions of rows, features without number, and exponents that would fill the memory."""
    assert_refused(Moments.from_dict, MOMENTS.to_dict() | change)


@given(st.lists(st.lists(st.integers(-9, 9), min_size=2, max_size=2), min_size=1, max_size=5), st.integers(0, 9))
def test_any_numbers_that_mean_the_same_give_an_equal_value(rows, shift):
    """Another exponent, and weights that are all 1."""
    moments = Moments.of(np.array(rows))
    as_dict = moments.to_dict()
    for name in ("sum", "sum_of_squares"):
        wide = [hex(int(value, 16) << 32 * shift) for value in as_dict[name]["values"]]
        as_dict[name] = {"exponent": as_dict[name]["exponent"] - 32 * shift, "values": wide}
    as_dict["weight"] = {"exponent": 0, "values": [hex(len(rows))] * 2}
    assert moments == Moments.from_dict(as_dict)
    assert hash(moments) == hash(Moments.from_dict(as_dict))
