"""Laws of the kernel cache and of warmup, each in processes of their own."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import strategies as arrays

import fastnorm

GUARD = 300  # seconds until a hang becomes a failure; a cold warm-up takes 40

SMALL = """
    import numpy as np
    from fastnorm import Normalization

    x = np.arange(12, dtype="f4").reshape(4, 3)
    print(Normalization().adapt(x).transform(x)[0, 0])
"""
EVERYTHING = """
    import numpy as np
    from fastnorm import Moments, Normalization

    rng = np.random.default_rng(0)
    dtypes = "f2 f4 f8 ? i1 i2 i4 i8 u1 u2 u4 u8 >f4 >f8 >i2".split()
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        pass
    else:
        dtypes.append(bfloat16)
    big = {big}
    for dtype in dtypes:
        for shape, axis in (((big, 3), -1), ((9, big), -1), ((big,), None), ((40, 3, 50), 1)):
            x = (abs(rng.normal(50, 10, shape))).astype(dtype)
            for y in (x, np.asfortranarray(x), x[::-1], x[::2], np.ma.masked_greater(x, 55)):
                for options in ({{}}, {{"affine": True}}):
                    layer = Normalization(axis, **options).adapt(y)
                    layer.update(y[:2] if axis == -1 else y)
                    layer.update(y[:2] if axis == -1 else y)
                    z = layer.transform(y)
                    for out in (z, np.empty(y.shape, "f4"), np.empty(y.shape, "f8")):
                        layer.transform(y, out=out)
                        layer.inverse_transform(y, out=out)
                        layer.transform(out, out=out)
                        layer.inverse_transform(out, out=out)
        x = abs(rng.normal(50, 10, (70, 3))).astype(dtype)
        layer = Normalization().adapt(x, weights=rng.random(70))
        layer.update(x, weights=rng.integers(0, 3, 70))
        row = x[:1].astype("f4" if x.dtype.itemsize <= 2 else "f8")
        layer.transform(row, out=row)
        layer.update(row)
        fixed = Normalization(mean=1, variance=4)
        fixed.inverse_transform(fixed.transform(x))
"""
RECORD = """
    from numba.core import event

    with event.install_recorder("numba:compile") as recorder:
        {}
    print(len(recorder.buffer) // 2)
"""


def run_python(code, cwd, **environment):
    """Run code in a process that knows no setting of ours, and return what it prints."""
    known = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FASTNORM_") and name != "NUMBA_CACHE_DIR"
    }
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        check=False,
        cwd=cwd,
        env=known | environment,
        text=True,
        timeout=GUARD,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.split()


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


def code_in(text):
    """Return code indented for the body of a `with`."""
    return textwrap.indent(textwrap.dedent(text), "    ").strip()


# Where the kernels are kept


def test_the_default_cache_lies_beside_the_package(install):
    """Compiled kernels are stored with the package, and nowhere else."""
    folder, environment = install
    assert ["-1.3416408"] == run_python(SMALL, folder, **environment)
    found = kernels_in(folder)
    assert bool(found) != arrays.UNJITTED
    assert found == kernels_in(folder / "site" / "fastnorm")


def test_the_cache_may_lie_in_another_directory(install):
    """FASTNORM_CACHE=directory stores the kernels there, makes it if need be, and no other file."""
    folder, environment = install
    environment["FASTNORM_CACHE"] = str(folder / "a new" / "cache")
    assert ["-1.3416408"] == run_python(SMALL, folder, **environment)
    found = kernels_in(folder)
    assert bool(found) != arrays.UNJITTED
    assert found == kernels_in(folder / "a new" / "cache")
    assert ["-1.3416408"] == run_python(SMALL, folder, **environment)
    assert found == kernels_in(folder)


def test_the_cache_may_be_switched_off(install):
    """FASTNORM_CACHE=0 computes the same and writes no file."""
    folder, environment = install
    before = sorted(folder.rglob("*"))
    assert ["-1.3416408"] == run_python(SMALL, folder, FASTNORM_CACHE="0", **environment)
    assert before == sorted(folder.rglob("*"))


def test_a_changed_source_does_not_use_the_old_kernels(install):
    """numba's cache does not see a change in another file; ours does."""
    folder, environment = install
    run_python(SMALL, folder, **environment)
    before = kernels_in(folder)
    source = folder / "site" / "fastnorm" / "_kernels" / "apply.py"
    changed = source.read_text("utf-8").replace("- low[c]) / scale[c]", "- low[c]) / -scale[c]")
    source.write_text(changed, "utf-8")
    assert ["1.3416408"] == run_python(SMALL, folder, **environment)
    assert bool(set(kernels_in(folder)) - set(before)) != arrays.UNJITTED


# warmup


def test_after_a_warm_up_nothing_is_compiled(tmp_path):
    """warmup() compiles every kernel that any array needs, in this process and for the next one."""
    big = 300 if arrays.UNJITTED else 40_000
    everything = EVERYTHING.format(big=big)
    cache = os.environ.get("FASTNORM_CACHE") or str(Path(fastnorm.__file__).parent)
    here = {name: os.environ[name] for name in ("FASTNORM_CACHE", "NUMBA_CACHE_DIR") if name in os.environ}
    again = "import fastnorm; fastnorm.warmup(); fastnorm.warmup()"
    run_python(again, tmp_path, **here)
    before = kernels_in(cache)
    warm = RECORD.format("import fastnorm; fastnorm.warmup()")
    assert ["0"] == run_python(warm, tmp_path, **here)
    used = textwrap.dedent(RECORD).format(code_in(everything))
    assert ["0"] == run_python(used, tmp_path, **here)
    assert before == kernels_in(cache)


def test_warmup_changes_nothing_that_is_seen():
    """It returns None, prints nothing, and may be called again."""
    assert fastnorm.warmup() is None
    assert fastnorm.warmup() is None
