"""The one place that names numba's options, and the guarded cache of compiled kernels.

Every kernel is plain ``njit`` with ``nogil``: threads are ours (``_threads``), numba's parallel runtime is never
started. Kernels allocate nothing, so that no references are counted. Under ``NUMBA_DISABLE_JIT=1`` the decorators
return the Python function, which gives the same bits.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

import llvmlite.binding
import numba
import numba.core.codegen
import numba.core.compiler
import numba.core.config
import numpy as np

_njit: Any = numba.njit
_Library: Any = numba.core.codegen.JITCodeLibrary
_Compiler: Any = numba.core.compiler.Compiler
numba_config: Any = numba.core.config
log = logging.getLogger("fastnorm")

#: True where kernels run as plain Python (``NUMBA_DISABLE_JIT=1``).
INTERPRETED = bool(numba_config.DISABLE_JIT)

_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "nogil": True,
    "no_cfunc_wrapper": True,
    "_nrt": False,
    "no_rewrites": True,
}


def exact_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel whose floating-point operations are never reassociated, contracted or assumed finite."""
    return _compile(function)


apply_kernel = exact_kernel  # the same promise: z-scores too have equal bits on every processor


def inner_kernel(function: Callable[..., Any]) -> Any:
    """The same for what only other kernels call: they take it in and optimise it; Python must not call it."""
    if INTERPRETED:
        return _interpreted(function)
    return _njit(pipeline_class=_InnerCompiler, no_cpython_wrapper=True, **_OPTIONS)(function)


def _compile(function: Callable[..., Any]) -> Any:
    if INTERPRETED:
        return _interpreted(function)
    switch = os.environ.get("FASTNORM_CACHE", "1")
    # numba's cache does not see a change in another file: let the name of the cache file carry all sources.
    function.__qualname__ = f"{function.__qualname__}-{_SOURCES}"
    jit = _njit(**_OPTIONS)
    if switch == "0":
        return jit(function)
    before = numba_config.CACHE_DIR
    try:
        if switch != "1":
            numba_config.CACHE_DIR = switch
        return _cached(_njit(cache=True, **_OPTIONS)(function))
    except RuntimeError as error:  # no writable place: a read-only install without HOME
        log.info("kernels are compiled anew in each process: %s", error)
        return jit(function)
    finally:
        numba_config.CACHE_DIR = before


def _interpreted(function: Callable[..., Any]) -> Any:
    """Machine code does not warn either, where a verdict on v*v overflows or a NaN signals."""
    return np.errstate(over="ignore", invalid="ignore")(function)


class _InnerLibrary(_Library):  # type: ignore[misc]
    """Code that is optimised and made executable in each of its callers only; numba would do so here, too."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True


class _InnerCompiler(_Compiler):  # type: ignore[misc]
    """How an inner kernel is compiled: as far as code that can be linked."""

    def compile_extra(self, function: Callable[..., Any]) -> Any:
        self.state.library = _InnerLibrary(self.state.targetctx.codegen(), function.__qualname__)
        self.state.flags.no_compile = True
        result = super().compile_extra(function)
        entry: Any = {}.update  # in the place of an entry from Python, and of one kernel only; it would raise an error
        self.state.targetctx.insert_user_function(entry, result.fndesc, [result.library])
        return result._replace(entry_point=entry)


def _cached(kernel: Any) -> Any:
    """Mend two habits of numba's cache.

    It chooses the name of a data file from the index it has read, so that two processes that compile at the same time
    may take the same one; a third then runs the code of another signature (seen as a crash). So they store their code
    one after the other. And before it loads code it prepares to compile, which takes longer than all the rest of a
    warm start; the compiler does that itself when it is needed.
    """
    cache = kernel._cache
    save, load = cache.save_overload, cache.load_overload

    def save_alone(signature: Any, data: Any) -> None:
        Path(cache.cache_path).mkdir(parents=True, exist_ok=True)  # somebody may have cleaned up
        with (Path(cache.cache_path) / "fastnorm.lock").open("ab") as lock:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)
            save(signature, data)

    def load_only(signature: Any, target: Any) -> Any:
        try:
            from numba.core.runtime.nrt import rtsys

            only, guard = cache._load_overload, cache._guard_against_spurious_io_errors
        except (ImportError, AttributeError):  # another numba
            return load(signature, target)
        rtsys.initialize(target)
        with guard():
            return only(signature, target)

    cache.save_overload, cache.load_overload = save_alone, load_only
    return kernel


def is_compiled(kernel: Any) -> bool:
    """Whether there is code for a kernel, in this process or stored."""
    if INTERPRETED:
        return False
    index = getattr(getattr(kernel._cache, "_cache_file", None), "_index_path", None)  # if numba still has one
    return bool(kernel.signatures) or (index is not None and Path(index).exists())


def _digest_of_sources() -> str:
    here = Path(__file__).parent
    files = [Path(__file__), *sorted((here / "_kernels").glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


_SOURCES = _digest_of_sources()


def cpu_name() -> str:
    """Name of the processor that kernels are compiled for (``NUMBA_CPU_NAME`` overrides the host's)."""
    return str(numba_config.CPU_NAME or llvmlite.binding.get_host_cpu_name())


def cpu_features() -> list[str]:
    """Instruction sets that kernels may use, sorted."""
    if numba_config.CPU_FEATURES is not None:
        given = str(numba_config.CPU_FEATURES).split(",")
        return sorted(name[1:] for name in given if name.startswith("+"))
    if numba_config.CPU_NAME:  # a named processor: numba takes no host features with it
        return []
    return sorted(name for name, present in llvmlite.binding.get_host_cpu_features().items() if present)


def vector_bytes() -> int:
    """Width of a vector register in bytes on the processor that kernels are compiled for."""
    features = cpu_features()
    if "avx512f" in features:
        return 64
    if "avx2" in features or (numba_config.CPU_NAME or "") in {"haswell", "x86-64-v3", "znver3"}:
        return 32
    return 16
