"""z = ((x - mean) - low) / scale and its inverse in float64, rounded once by the store; in place or into ``out``.

mean + low is the mean to about 106 bits. No operation is contracted or reassociated: equal bits on every processor.
Each kernel has a twin in place: with two arrays that overlap, LLVM's run-time check would choose its scalar loop.
Element (o, r, c) is ``x[start + o*step + r*stride + c]``; the parameters have one entry a lane.
"""

from __future__ import annotations

import numpy as np

from fastnorm._jit import apply_kernel


@apply_kernel
def standardize(x, out, at, start, outer, step, rows, stride, lanes, mean, low, scale):
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source = x[here : here + lanes]
            target = out[here + at : here + at + lanes]
            for c in range(lanes):
                target[c] = ((np.float64(source[c]) - mean[c]) - low[c]) / scale[c]


@apply_kernel
def standardize_in_place(x, start, outer, step, rows, stride, lanes, mean, low, scale):
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            row = x[here : here + lanes]
            for c in range(lanes):
                row[c] = ((np.float64(row[c]) - mean[c]) - low[c]) / scale[c]


@apply_kernel
def standardize_long(x, out, at, start, outer, step, rows, stride, lanes, mean, low, scale, last, bias):
    """64-bit integers, which float64 does not hold: x = high + rest, both exact; ``bias`` is 2**64 for uint64."""
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source = x[here : here + lanes]
            target = out[here + at : here + at + lanes]
            for c in range(lanes):
                v = source[c]
                high = np.float64((v >> 32) + ((v >> 31) & 1)) * 4294967296.0 + (bias if v < 0 else 0.0)
                rest = np.float64(((v & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000)
                target[c] = ((((high - mean[c]) + rest) - low[c]) - last[c]) / scale[c]


@apply_kernel
def affine(x, out, at, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source = x[here : here + lanes]
            target = out[here + at : here + at + lanes]
            for c in range(lanes):
                z = ((np.float64(source[c]) - mean[c]) - low[c]) / scale[c]
                target[c] = z * gamma[c] + beta[c]


@apply_kernel
def affine_in_place(x, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            row = x[here : here + lanes]
            for c in range(lanes):
                z = ((np.float64(row[c]) - mean[c]) - low[c]) / scale[c]
                row[c] = z * gamma[c] + beta[c]


@apply_kernel
def restore(z, out, at, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            source = z[here : here + lanes]
            target = out[here + at : here + at + lanes]
            for c in range(lanes):
                plain = (np.float64(source[c]) - beta[c]) / gamma[c]
                target[c] = (plain * scale[c] + low[c]) + mean[c]


@apply_kernel
def restore_in_place(z, start, outer, step, rows, stride, lanes, mean, low, scale, gamma, beta):
    for o in range(outer):
        for r in range(rows):
            here = start + o * step + r * stride
            row = z[here : here + lanes]
            for c in range(lanes):
                plain = (np.float64(row[c]) - beta[c]) / gamma[c]
                row[c] = (plain * scale[c] + low[c]) + mean[c]
