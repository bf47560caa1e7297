"""The lanes of a worker: where their sums and exponents are kept, and where a lane is aimed."""

from __future__ import annotations

import numpy as np

from fastnorm._jit import inner_kernel, vector_bytes
from fastnorm._kernels.limbs import ZERO, pieces
from fastnorm._kernels.steps import BLOCK, WEIGHTED, WIDE
from fastnorm._kernels.vector import LANES, not_inlined, part, value_at

FLUSH = 1000  # blocks whose whole numbers (at most 2**52 each) fit an int64, with a bit to spare
LOWEST, HIGHEST = -400, 500  # E stays here: products neither under- nor overflow
LOWEST_NARROW, HIGHEST_NARROW = -71, 106  # and for float32 here, where its limbs suffice
MARGIN, MARGIN_NARROW = 3, 6  # of a wide grid above the plain one: a block with larger values need not move it
UNSET = 1 << 20  # the E of a wide grid that was not needed yet
BLOCK_BYTES = 1 << 14  # of a block with enough rows: two fit the first-level cache
FULL = np.int64(BLOCK)  # as an argument: see ZERO
FEW, FEW_DOUBLES = np.int64(16), np.int64(16 if vector_bytes() == 64 else 32)  # rows at least,
FEW_CROWDED = np.int64(12)  # where rows are so far apart that they share a few places of that cache
SPAN, FEWEST = 1 << 23, np.int64(6)  # bytes from first to last row, beyond which fetching is slow; but so many rows
FAR = np.int64(1 << 20)  # beyond all rows

# Scratch of a worker, in lanes: floats hold 2**E for the plain and the wide grid; integers the sums of each, flags,
# tally, E, E of the wide grid.
FLOATS = 2 * LANES
SUMS = len(WEIGHTED)  # the most but for the wide ones
WIDE_SUMS = SUMS * LANES
FLAGS = WIDE_SUMS + len(WIDE) * LANES
TALLY = FLAGS + LANES
AT_E = TALLY + LANES
WIDE_E = AT_E + LANES
BLOCKS = WIDE_E + LANES  # blocks since the lanes were emptied
STEP = BLOCKS + 1  # how blocks are taken: 0 plain, 1 with gaps, 2 wide and strict, 3 wide
LEFT = BLOCKS + 2  # how many more of them
NEXT = BLOCKS + 3  # how many the next time
FAILED = BLOCKS + 4  # how often lanes have failed of late, in 32nds
PIECES = BLOCKS + 5  # for `flush_all`: in which row a sum begins, and what it adds to three rows
INTEGERS = PIECES + 4 * LANES


@inner_kernel
def block_rows(rows, stride, lanes, itemsize):
    """How many rows a block has: about as many in each, for a short last one fetches too little of what comes next."""
    few = FEW_DOUBLES if itemsize == 8 and stride == lanes and lanes <= 512 else FEW
    few = FEW_CROWDED if stride & 1023 == 0 else few
    size = min(max(BLOCK_BYTES // (lanes * itemsize), few), FULL)
    if stride > lanes:
        size = min(size, max(SPAN // (stride * itemsize), FEWEST))
    return (rows - 1) // ((rows - 1) // size + 1) + 1


@inner_kernel
def move(c, E, floats, integers, narrow):
    """Aim the (empty) lane c at values whose squares add up to less than 4**E in a block."""
    E = min(max(E, LOWEST_NARROW), HIGHEST_NARROW) if narrow else min(max(E, LOWEST), HIGHEST)
    integers[AT_E + c] = E
    floats[c] = np.int64((E + 1023) << 52).view(np.float64)  # 2**E


@inner_kernel
def fitting(squares, rows):
    """The E for data of which so many rows have this sum of squares: twice what a block of them would need, or more."""
    exponent = np.float64(squares * (BLOCK / rows)).view(np.int64) >> 52  # of inf as if it were finite
    return (exponent - 1020) >> 1


@inner_kernel
def begin(x, start, rows, stride, lanes, period, floats, integers):
    """Aim the (empty) lanes at what the first rows hold; all together where they are of one feature."""
    not_inlined()
    sample = min(rows, 16)
    squares = part(floats, LANES, LANES)
    for c in range(lanes):
        squares[c] = 0.0
    for r in range(sample):
        row = part(x, start + r * stride, lanes)
        for c in range(lanes):
            v = value_at(row, c)
            w = v * v
            squares[c] += w if w <= 1e300 else 0.0
    if period == 1:
        most = 0.0
        for c in range(lanes):
            most = max(most, squares[c])
        move(ZERO, fitting(most, sample) if most > 0.0 else ZERO, floats, integers, x.itemsize <= 4)
        E, scale = integers[AT_E], floats[0]
        for c in range(lanes):
            integers[AT_E + c] = E
            floats[c] = scale
    else:
        for c in range(lanes):
            move(c, fitting(squares[c], sample) if squares[c] > 0.0 else ZERO, floats, integers, x.itemsize <= 4)
    for c in range(lanes):
        integers[WIDE_E + c] = UNSET
        integers[TALLY + c] = 0
    integers[BLOCKS] = 0


@inner_kernel
def flush_all(lanes, integers, table, state, layout, feature, span):
    """What `flush` does, for all lanes at once, each of a feature of its own: row by row, without branches."""
    not_inlined()
    exponents, rows = part(integers, AT_E, lanes), part(integers, PIECES, lanes)
    low, middle, high = (
        part(integers, PIECES + LANES, lanes),
        part(integers, PIECES + 2 * LANES, lanes),
        part(integers, PIECES + 3 * LANES, lanes),
    )
    for k in range(table.shape[0]):
        sums = part(integers, k * LANES, lanes)
        power = table[k, 0]
        side = 2 * (power - 1)
        offset = table[k, 1] + table[k, 2] - layout[side + 1]
        first, last = FAR, -FAR
        for c in range(lanes):
            value, position = sums[c], power * exponents[c] + offset
            row = layout[side] + (position >> 5)
            rows[c] = row
            low[c], middle[c], high[c] = pieces(value, position & 31)
            sums[c] = 0
            least, most = (row, row) if value else (FAR, -FAR)
            first = least if least < first else first
            last = most if most > last else last
        for row in range(first, last + 3):
            limbs = part(state[row], feature, lanes)
            for c in range(lanes):
                place = row - rows[c]
                more = low[c] if place == 0 else ZERO
                more = middle[c] if place == 1 else more
                limbs[c] += high[c] if place == 2 else more
        if first <= last:
            span[side] = min(span[side], first)
            span[side + 1] = max(span[side + 1], last + 3)


@inner_kernel
def add_up(lanes, integers, table):
    """Add the whole numbers of all lanes to those of the first: they are of one feature and aimed alike."""
    for k in range(table.shape[0]):
        sums = part(integers, k * LANES, lanes)
        total = ZERO
        for c in range(lanes):
            total += sums[c]
            sums[c] = 0
        sums[0] = total
