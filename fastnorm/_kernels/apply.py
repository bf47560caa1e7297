"""z = ((x - mean) - low) / scale and its inverse in float64, rounded once by the store; in place or into ``out``.

mean + low is the mean to about 106 bits. No operation is contracted or reassociated: equal bits on every processor.
Where ``out`` is float32, ``scale`` is the inverse, to multiply by: a division takes longer than memory does, and what
the rounded inverse adds to the error, 2**-53, is nothing there.
Each kernel has a twin in place: with two arrays that overlap, LLVM's run-time check would choose its scalar loop. And
one for four times so many rows, in place, at four places of memory at once: the processor's prefetchers do more.
Element (o, r, c) is ``x[start + o*step + r*stride + c]``, of which `at` gives the parameters.
"""

from __future__ import annotations

import numpy as np

from fastnorm._jit import apply_kernel, inner_kernel
from fastnorm._kernels.vector import at, part


@inner_kernel
def is_single(array):
    """Whether an array is float32, which does not hold 2**24 + 1: unlike its itemsize, a constant for LLVM."""
    return np.float64(array.dtype.type(16777217.0)) != 16777217.0


@inner_kernel
def score(v, o, c, single, mean, low, scale):
    """One z-score."""
    difference = (np.float64(v) - at(mean, o, c)) - at(low, o, c)
    return difference * at(scale, o, c) if single else difference / at(scale, o, c)


@inner_kernel
def long_score(v, o, c, mean, low, scale, last, bias):
    """One z-score of a 64-bit integer, which float64 does not hold: v = high + rest, both exact."""
    high = np.float64((v >> 32) + ((v >> 31) & 1)) * 4294967296.0 + (bias if v < 0 else 0.0)
    rest = np.float64(((v & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000)
    return ((((high - at(mean, o, c)) + rest) - at(low, o, c)) - at(last, o, c)) / at(scale, o, c)


@inner_kernel
def affine_score(v, o, c, single, mean, low, scale, gamma, beta):
    """One z-score, scaled and shifted."""
    return score(v, o, c, single, mean, low, scale) * at(gamma, o, c) + at(beta, o, c)


@inner_kernel
def value(z, o, c, mean, low, scale):
    """What has this z-score."""
    return (np.float64(z) * at(scale, o, c) + at(low, o, c)) + at(mean, o, c)


@inner_kernel
def affine_value(z, o, c, mean, low, scale, gamma, beta):
    """What has this z-score, scaled and shifted."""
    return value((np.float64(z) - at(beta, o, c)) / at(gamma, o, c), o, c, mean, low, scale)


@inner_kernel
def places(x, here, far, lanes):
    """Four rows, so far apart."""
    second, third, fourth = here + far, here + 2 * far, here + 3 * far
    return part(x, here, lanes), part(x, second, lanes), part(x, third, lanes), part(x, fourth, lanes)


@apply_kernel
def standardize(x, out, start, outer, step, rows, stride, lanes, mean, low, scale):
    single = is_single(out)
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source, target = part(x, here, lanes), part(out, here, lanes)
            for c in range(lanes):
                target[c] = score(source[c], o, c, single, mean, low, scale)


@apply_kernel
def standardize_in_place(x, start, outer, step, rows, stride, lanes, mean, low, scale):
    single = is_single(x)
    for o in range(outer):
        for r in range(rows):
            row = part(x, start + o * step + r * stride, lanes)
            for c in range(lanes):
                row[c] = score(row[c], o, c, single, mean, low, scale)


@apply_kernel
def standardize_in_fours(x, start, outer, step, rows, stride, lanes, mean, low, scale):
    single = is_single(x)
    for o in range(outer):
        for r in range(rows):
            four = places(x, start + o * step + r * stride, rows * stride, lanes)
            for c in range(lanes):
                for row in four:
                    row[c] = score(row[c], o, c, single, mean, low, scale)


@apply_kernel
def standardize_long(x, out, start, outer, step, rows, stride, lanes, mean, low, scale, last, bias):
    """64-bit integers; ``bias`` is 2**64 for uint64."""
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source, target = part(x, here, lanes), part(out, here, lanes)
            for c in range(lanes):
                target[c] = long_score(source[c], o, c, mean, low, scale, last, bias)


@apply_kernel
def affine_standardize(x, out, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    single = is_single(out)
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source, target = part(x, here, lanes), part(out, here, lanes)
            for c in range(lanes):
                target[c] = affine_score(source[c], o, c, single, mean, low, scale, gamma, beta)


@apply_kernel
def affine_standardize_in_place(x, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    single = is_single(x)
    for o in range(outer):
        for r in range(rows):
            row = part(x, start + o * step + r * stride, lanes)
            for c in range(lanes):
                row[c] = affine_score(row[c], o, c, single, mean, low, scale, gamma, beta)


@apply_kernel
def affine_standardize_in_fours(x, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    single = is_single(x)
    for o in range(outer):
        for r in range(rows):
            four = places(x, start + o * step + r * stride, rows * stride, lanes)
            for c in range(lanes):
                for row in four:
                    row[c] = affine_score(row[c], o, c, single, mean, low, scale, gamma, beta)


@apply_kernel
def restore(x, out, start, outer, step, rows, stride, lanes, mean, low, scale):
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source, target = part(x, here, lanes), part(out, here, lanes)
            for c in range(lanes):
                target[c] = value(source[c], o, c, mean, low, scale)


@apply_kernel
def restore_in_place(x, start, outer, step, rows, stride, lanes, mean, low, scale):
    for o in range(outer):
        for r in range(rows):
            row = part(x, start + o * step + r * stride, lanes)
            for c in range(lanes):
                row[c] = value(row[c], o, c, mean, low, scale)


@apply_kernel
def restore_in_fours(x, start, outer, step, rows, stride, lanes, mean, low, scale):
    for o in range(outer):
        for r in range(rows):
            four = places(x, start + o * step + r * stride, rows * stride, lanes)
            for c in range(lanes):
                for row in four:
                    row[c] = value(row[c], o, c, mean, low, scale)


@apply_kernel
def affine_restore(x, out, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source, target = part(x, here, lanes), part(out, here, lanes)
            for c in range(lanes):
                target[c] = affine_value(source[c], o, c, mean, low, scale, gamma, beta)


@apply_kernel
def affine_restore_in_place(x, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    for o in range(outer):
        for r in range(rows):
            row = part(x, start + o * step + r * stride, lanes)
            for c in range(lanes):
                row[c] = affine_value(row[c], o, c, mean, low, scale, gamma, beta)


@apply_kernel
def affine_restore_in_fours(x, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    for o in range(outer):
        for r in range(rows):
            four = places(x, start + o * step + r * stride, rows * stride, lanes)
            for c in range(lanes):
                for row in four:
                    row[c] = affine_value(row[c], o, c, mean, low, scale, gamma, beta)
