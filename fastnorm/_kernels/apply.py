"""z = ((x - mean) - low) / scale and its inverse in float64, rounded once by the store; in place or into ``out``.

mean + low is the mean to about 106 bits. No operation is contracted or reassociated: equal bits on every processor.
Where ``out`` is float32, ``scale`` is the inverse, to multiply by: a division takes longer than memory does, and what
the rounded inverse adds to the error, 2**-53, is nothing there.
Each kernel has a twin in place: with two arrays that overlap, LLVM's run-time check would choose its scalar loop.
Element (o, r, c) is ``x[start + o*step + r*stride + c]``; the parameters have one entry a lane.
"""

from __future__ import annotations

import numpy as np

from fastnorm._jit import apply_kernel, inner_kernel
from fastnorm._kernels.vector import part


@inner_kernel
def is_single(array):
    """Whether an array is float32, which does not hold 2**24 + 1: unlike its itemsize, a constant for LLVM."""
    return np.float64(array.dtype.type(16777217.0)) != 16777217.0


@inner_kernel
def score(v, mean, low, scale, single):
    """One z-score."""
    difference = (np.float64(v) - mean) - low
    return difference * scale if single else difference / scale


@apply_kernel
def standardize(x, out, at, start, outer, step, rows, stride, lanes, mean, low, scale):
    single = is_single(out)
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source = part(x, here, lanes)
            target = part(out, here + at, lanes)
            for c in range(lanes):
                target[c] = score(source[c], mean[c], low[c], scale[c], single)


@apply_kernel
def standardize_in_place(x, start, outer, step, rows, stride, lanes, mean, low, scale):
    single = is_single(x)
    quarter = rows // 4  # four places of memory at once: the processor's prefetchers do more
    for o in range(outer):
        for r in range(quarter):
            here = start + o * step + r * stride
            first = part(x, here, lanes)
            here += quarter * stride
            second = part(x, here, lanes)
            here += quarter * stride
            third = part(x, here, lanes)
            here += quarter * stride
            fourth = part(x, here, lanes)
            for c in range(lanes):
                first[c] = score(first[c], mean[c], low[c], scale[c], single)
                second[c] = score(second[c], mean[c], low[c], scale[c], single)
                third[c] = score(third[c], mean[c], low[c], scale[c], single)
                fourth[c] = score(fourth[c], mean[c], low[c], scale[c], single)
        for r in range(4 * quarter, rows):
            here = start + o * step + r * stride
            row = part(x, here, lanes)
            for c in range(lanes):
                row[c] = score(row[c], mean[c], low[c], scale[c], single)


@inner_kernel
def long_score(v, mean, low, scale, last, bias):
    """One z-score of a 64-bit integer, which float64 does not hold: v = high + rest, both exact."""
    high = np.float64((v >> 32) + ((v >> 31) & 1)) * 4294967296.0 + (bias if v < 0 else 0.0)
    rest = np.float64(((v & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000)
    return ((((high - mean) + rest) - low) - last) / scale


@apply_kernel
def standardize_long(x, out, at, start, outer, step, rows, stride, lanes, mean, low, scale, last, bias):
    """64-bit integers; ``bias`` is 2**64 for uint64."""
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source = part(x, here, lanes)
            target = part(out, here + at, lanes)
            for c in range(lanes):
                target[c] = long_score(source[c], mean[c], low[c], scale[c], last[c], bias)


@apply_kernel
def affine(x, out, at, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    single = is_single(out)
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source = part(x, here, lanes)
            target = part(out, here + at, lanes)
            for c in range(lanes):
                z = score(source[c], mean[c], low[c], scale[c], single)
                target[c] = z * gamma[c] + beta[c]


@apply_kernel
def affine_in_place(x, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    single = is_single(x)
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            row = part(x, here, lanes)
            for c in range(lanes):
                z = score(row[c], mean[c], low[c], scale[c], single)
                row[c] = z * gamma[c] + beta[c]


@apply_kernel
def restore(z, out, at, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source = part(z, here, lanes)
            target = part(out, here + at, lanes)
            for c in range(lanes):
                plain = (np.float64(source[c]) - beta[c]) / gamma[c]
                target[c] = (plain * scale[c] + low[c]) + mean[c]


@apply_kernel
def restore_in_place(z, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            row = part(z, here, lanes)
            for c in range(lanes):
                plain = (np.float64(row[c]) - beta[c]) / gamma[c]
                row[c] = (plain * scale[c] + low[c]) + mean[c]


# Runs: ``length`` neighbouring values of one feature, then, ``step`` further, of the next.


@apply_kernel
def standardize_runs(x, out, at, start, outer, step, length, mean, low, scale):
    single = is_single(out)
    for o in range(outer):
        source = part(x, start + o * step, length)
        target = part(out, start + o * step + at, length)
        m, rest, s = mean[o], low[o], scale[o]
        for c in range(length):
            target[c] = score(source[c], m, rest, s, single)


@apply_kernel
def standardize_runs_in_place(x, start, outer, step, length, mean, low, scale):
    single = is_single(x)
    for o in range(outer):
        run = part(x, start + o * step, length)
        m, rest, s = mean[o], low[o], scale[o]
        for c in range(length):
            run[c] = score(run[c], m, rest, s, single)


@apply_kernel
def standardize_long_runs(x, out, at, start, outer, step, length, mean, low, scale, last, bias):
    for o in range(outer):
        source = part(x, start + o * step, length)
        target = part(out, start + o * step + at, length)
        m, rest, s, end = mean[o], low[o], scale[o], last[o]
        for c in range(length):
            target[c] = long_score(source[c], m, rest, s, end, bias)


@apply_kernel
def affine_runs(x, out, at, start, outer, step, length, mean, low, scale, gamma, beta):
    single = is_single(out)
    for o in range(outer):
        source = part(x, start + o * step, length)
        target = part(out, start + o * step + at, length)
        m, rest, s, g, b = mean[o], low[o], scale[o], gamma[o], beta[o]
        for c in range(length):
            z = score(source[c], m, rest, s, single)
            target[c] = z * g + b


@apply_kernel
def affine_runs_in_place(x, start, outer, step, length, mean, low, scale, gamma, beta):
    single = is_single(x)
    for o in range(outer):
        run = part(x, start + o * step, length)
        m, rest, s, g, b = mean[o], low[o], scale[o], gamma[o], beta[o]
        for c in range(length):
            z = score(run[c], m, rest, s, single)
            run[c] = z * g + b


@apply_kernel
def restore_runs(z, out, at, start, outer, step, length, mean, low, scale, gamma, beta):
    for o in range(outer):
        source = part(z, start + o * step, length)
        target = part(out, start + o * step + at, length)
        m, rest, s, g, b = mean[o], low[o], scale[o], gamma[o], beta[o]
        for c in range(length):
            plain = (np.float64(source[c]) - b) / g
            target[c] = (plain * s + rest) + m


@apply_kernel
def restore_runs_in_place(z, start, outer, step, length, mean, low, scale, gamma, beta):
    for o in range(outer):
        run = part(z, start + o * step, length)
        m, rest, s, g, b = mean[o], low[o], scale[o], gamma[o], beta[o]
        for c in range(length):
            plain = (np.float64(run[c]) - b) / g
            run[c] = (plain * s + rest) + m
