"""Laws of the kernel cache and of warmup, each in processes of their own."""

import os
import shutil
import textwrap
from pathlib import Path

import processes
import pytest
import strategies as arrays

import fastnorm

GUARD = 300  # seconds until a hang becomes a failure; a cold warm-up takes 40

SMALL = """
    import numpy as np
    from fastnorm import Normalization, _few

    _few.without_kernels = lambda values: False
    x = np.array([[3, 5], [-1, 0]], "f4")
    print(*Normalization(mean=1, variance=4).transform(x).ravel())
"""
RESULT = ["1.0", "2.0", "-1.0", "-0.5"]
EVERYTHING = """
    import numpy as np
    from fastnorm import Normalization
    from ml_dtypes import bfloat16

    rng = np.random.default_rng(0)
    long, wide = {sizes}
    for dtype in (*"f2 f4 f8 ? i1 i2 i4 i8 u1 u2 u4 u8 >f4 >f8 >i2".split(), bfloat16):
        for shape, axis in (((long, 3), -1), ((5, wide), -1), ((long,), None), ((40, 3, 50), 1), ((300, 70), -1)):
            x = abs(rng.normal(50, 10, shape)).astype(dtype)
            layer = Normalization(axis).adapt(x)
            layer.update(np.asfortranarray(x)).update(x[::2]).update(x[::-1])
            layer.update(np.ma.masked_greater(x, 55))
            pair = Normalization(axis, affine=True).merge(layer)
            for one, y in ((layer, x), (pair, x), (layer, np.asfortranarray(x)), (pair, x[::2])):
                z = one.transform(y)
                for out in (z, np.empty(y.shape, "f4"), np.empty(y.shape, "f8")):
                    one.transform(y, out=out)
                    one.inverse_transform(y, out=out)
                    one.transform(out, out=out)
                    one.inverse_transform(out, out=out)
        x = abs(rng.normal(50, 10, (70, 3))).astype(dtype)
        layer = Normalization().adapt(x, weights=rng.random(70))
        layer.update(x, weights=rng.integers(0, 3, 70)).forget(x, weights=np.zeros(70, "f4"))
        for row in (x[:1], x[:1].astype("f4"), x[:1].astype("f8")):
            layer.update(row).update(row)
            if row.dtype in ("f4", "f8"):
                layer.transform(row, out=row)
        fixed = Normalization(mean=1, variance=4)
        fixed.inverse_transform(fixed.transform(x))
"""
WARM = "import fastnorm; fastnorm.warmup()"
RECORD = """
    from numba.core import event

    with event.install_recorder("numba:compile") as recorder:
        {}
    print(len(recorder.buffer) // 2, "compiled")
"""
SPECIALISATIONS = """
import sys
import fastnorm

def use():
    {}

def specialised():
    modules = [m for name, m in sys.modules.items() if name.startswith("fastnorm.")]
    kernels = {{k for m in modules for k in vars(m).values() if hasattr(k, "signatures")}}
    return {{(k.py_func.__name__, str(s)) for k in kernels for s in k.signatures}}

fastnorm.warmup()
before = specialised()
use()
for name, signature in sorted(specialised() - before):
    print(name + signature.replace(" ", ""))
"""
SETTINGS = ("FASTNORM_CACHE", "NUMBA_CACHE_DIR")
SHARED = {name: os.environ[name] for name in SETTINGS if name in os.environ}


def run_python(code, cwd, **environment):
    """Run code in a process that knows no setting of ours, and return what it prints."""
    known = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return processes.run_python(code, cwd=cwd, environment=known | environment, timeout=GUARD)


@pytest.fixture
def install(tmp_path):
    """A copy of the package without a cache, with its environment: nothing else is there."""
    source = Path(fastnorm.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, tmp_path / "site" / "fastnorm", ignore=ignored)
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR"):
        (tmp_path / name.lower()).mkdir()
        environment[name] = str(tmp_path / name.lower())
    return tmp_path, environment


def kernels_in(folder):
    """The files of numba's cache: an index for each kernel, and its machine code."""
    return sorted(path for path in Path(folder).rglob("*") if path.suffix in (".nbi", ".nbc"))


# Where the kernels are kept


def test_the_default_cache_lies_beside_the_package(install):
    """Compiled kernels are stored with the package, and nowhere else."""
    folder, environment = install
    assert RESULT == run_python(SMALL, folder, **environment)
    found = kernels_in(folder)
    assert bool(found) != arrays.UNJITTED
    assert found == kernels_in(folder / "site" / "fastnorm")


def test_the_cache_may_lie_in_another_directory(install):
    """FASTNORM_CACHE=directory stores the kernels there, makes it if need be, and no other file."""
    folder, environment = install
    environment["FASTNORM_CACHE"] = str(folder / "a new" / "cache")
    assert RESULT == run_python(SMALL, folder, **environment)
    found = kernels_in(folder)
    assert bool(found) != arrays.UNJITTED
    assert found == kernels_in(folder / "a new" / "cache")
    assert RESULT == run_python(SMALL, folder, **environment)
    assert found == kernels_in(folder)


def test_the_cache_may_be_switched_off(install):
    """FASTNORM_CACHE=0 computes the same and writes no file."""
    folder, environment = install
    before = sorted(folder.rglob("*"))
    assert RESULT == run_python(SMALL, folder, FASTNORM_CACHE="0", **environment)
    assert before == sorted(folder.rglob("*"))


def test_a_changed_source_does_not_use_the_old_kernels(install):
    """numba's cache does not see a change in another file; ours does."""
    folder, environment = install
    run_python(SMALL, folder, **environment)
    before = kernels_in(folder)
    source = folder / "site" / "fastnorm" / "_kernels" / "apply.py"
    text = source.read_text("utf-8")
    assert "return difference * at" in text
    source.write_text(text.replace("return difference * at", "return difference * -at"), "utf-8")
    assert ["-1.0", "-2.0", "1.0", "0.5"] == run_python(SMALL, folder, **environment)
    assert bool(set(kernels_in(folder)) - set(before)) != arrays.UNJITTED


# warmup


def test_warmup_has_every_kernel_for_every_dtype(tmp_path):
    """After it no array of any dtype, layout and axis needs another specialisation of a kernel."""
    sizes = (300, 30) if arrays.UNJITTED else (40_000, 2_100)
    everything = textwrap.dedent(EVERYTHING.format(sizes=sizes))
    code = textwrap.dedent(SPECIALISATIONS).format(textwrap.indent(everything, 4 * " ").strip())
    assert run_python(code, tmp_path, **SHARED) == []


def test_a_second_process_after_a_warm_up_compiles_nothing(tmp_path):
    """It finds all kernels in the cache, and adds none."""
    cache = next(iter(SHARED.values()), Path(fastnorm.__file__).parent)
    run_python(WARM, tmp_path, **SHARED)
    before = kernels_in(cache)
    assert ["0", "compiled"] == run_python(RECORD.format(WARM), tmp_path, **SHARED)
    assert before == kernels_in(cache)


def test_warmup_changes_nothing_that_is_seen():
    """It returns None, prints nothing, and may be called again."""
    assert fastnorm.warmup() is None
    assert fastnorm.warmup() is None
