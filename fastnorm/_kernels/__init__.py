"""Kernels: numba only, arrays and numbers in, arrays filled; no None, no axis, no error, no allocation."""
