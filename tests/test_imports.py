"""The laws of the rooms: who may import whom, and what `import fastnorm` may load."""

import ast
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fastnorm"

# A room is a module or a folder of fastnorm/. A new one gets its level here and its line in
# docs/contributing.md.
LEVELS = {
    **dict.fromkeys(("_disk", "_few", "_jit", "_threads", "_version"), 0),
    **dict.fromkeys(("_layout", "_tiles", "_kernels"), 1),
    **dict.fromkeys(("_sums", "_counted", "_scan"), 2),
    **dict.fromkeys(("_reduce", "_apply", "_sparse"), 3),
    **dict.fromkeys(("_statistics", "_codec", "_frames"), 4),
    **dict.fromkeys(("_arguments", "moments", "report", "state"), 5),
    **dict.fromkeys(("_accumulator", "_layer", "page", "policy"), 6),
    **dict.fromkeys(("_batches", "_learner", "_sklearn"), 7),
    **dict.fromkeys(("normalization", "batchnorm"), 8),
    **dict.fromkeys(("_warmup", "sklearn", "keras", "torch", "onnx", "files"), 9),
    **dict.fromkeys(("dask", "ray", "spark"), 10),
    **dict.fromkeys(("cli", "__main__"), 11),
}
INTEGRATIONS = 9

# Third-party modules beyond numpy, and the rooms that may name them.
HOMES = {
    "numba": {"_jit", "_kernels"},
    "llvmlite": {"_jit", "_kernels"},
    "ml_dtypes": {"_layout"},
    "sklearn": {"sklearn", "_sklearn", "dask"},
    "scipy": {"sklearn", "_sklearn"},
    "keras": {"keras"},
    "torch": {"torch"},
    "onnx": {"onnx"},
    "dask": {"dask"},
    "ray": {"ray"},
    "pyspark": {"spark"},
    "pyarrow": {"_batches", "_frames", "files"},
    "pandas": {"_frames", "files"},
    "polars": {"_frames", "files"},
    **{name: {"files"} for name in ("fsspec", "h5py", "tqdm", "xxhash", "zarr")},
    "typer": {"cli"},
}
# These rooms subclass or decorate with their library, so they open with it; every other use is
# inside a function.
OPENS_WITH = {
    *((room, "numba") for room in ("_jit", "_kernels")),
    *((room, "llvmlite") for room in ("_jit", "_kernels")),
    *((room, room) for room in ("keras", "torch", "dask", "ray")),
    *(("_frames", library) for library in ("pandas", "polars", "pyarrow")),  # a file each, imported for its tables
    *((room, library) for room in ("sklearn", "_sklearn") for library in ("sklearn", "scipy")),
    ("dask", "sklearn"),  # in the file of its scaler alone
    ("files", "pyarrow"),  # in the modules of table formats, imported for their files
    ("spark", "pyspark"),
    ("_batches", "pyarrow"),
    ("cli", "typer"),
}


class Import(NamedTuple):
    """One imported name: where it stands, what it names, and whether it runs on import."""

    file: Path
    line: int
    name: str  # absolute and dotted: "numpy.typing", "fastnorm._jit.exact_kernel"
    lazy: bool

    @property
    def room(self) -> str:
        return room_of(self.file)

    @property
    def target(self) -> str:
        """The room that is imported, or "" for the package itself and for other packages."""
        parts = self.name.split(".")
        return parts[1] if parts[0] == "fastnorm" and len(parts) > 1 and parts[1] in LEVELS else ""

    @property
    def library(self) -> str:
        return self.name.split(".")[0]

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.name}"


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def rooms() -> list[Path]:
    """Every module but fastnorm/__init__.py, which names the public rooms of all levels."""
    return [file for file in modules() if file != PACKAGE / "__init__.py"]


def imports_of(file: Path) -> Iterator[Import]:
    package = ["fastnorm", *file.relative_to(PACKAGE).parts[:-1]]

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(file, node.lineno, f"{origin}.{alias.name}", lazy)
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            inside = True
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(ast.parse(file.read_text("utf-8"), str(file)), False)


def all_imports() -> list[Import]:
    return [found for file in rooms() for found in imports_of(file)]


def inner_imports() -> list[Import]:
    return [found for found in all_imports() if found.library == "fastnorm"]


def other_imports() -> list[Import]:
    ours = {"fastnorm", "numpy", *sys.stdlib_module_names}
    return [found for found in all_imports() if found.library not in ours]


def listed(broken: list[Import]) -> str:
    return "\n".join(map(str, broken))


def test_every_room_has_a_level():
    """A module that the table does not know would escape the laws below."""
    assert set() == {room_of(file) for file in rooms()} - set(LEVELS)


def test_imports_point_down():
    """A room imports from its own level or a lower one."""
    broken = [i for i in inner_imports() if i.target and LEVELS[i.target] > LEVELS[i.room]]
    assert not broken, listed(broken)


def test_only_the_command_line_imports_the_package_itself():
    """`import fastnorm` inside a room would reach every level through its public names."""
    broken = [i for i in inner_imports() if not i.target and LEVELS[i.room] < LEVELS["cli"]]
    assert not broken, listed(broken)


def test_no_two_rooms_import_each_other():
    """Between rooms of one level the imports form no circle."""
    edges = {room: set() for room in LEVELS}
    for i in inner_imports():
        edges[i.room] |= {i.target} - {"", i.room}
    while free := {room for room, targets in edges.items() if not targets & edges.keys()}:
        edges = {room: targets for room, targets in edges.items() if room not in free}
    assert {} == edges


def test_integrations_do_not_import_each_other():
    """Siblings of level 5 meet in the layer below, never in each other."""
    broken = [
        i for i in inner_imports() if LEVELS[i.room] == INTEGRATIONS == LEVELS.get(i.target) and i.room != i.target
    ]
    assert not broken, listed(broken)


#: Kernel files may share kernels, downwards: the name of a cache file holds the digest of all of them (`_jit`).
KERNEL_LEVELS = {"vector": 0, "apply": 1, "quick": 1, "limbs": 1, "rows": 1, "statistics": 2}
KERNEL_LEVELS |= {"steps": 2, "lanes": 3, "exact": 4, "weights": 4, "integers": 4, "sparse": 5}


def test_imports_between_kernel_files_point_down():
    """All may use vectors; what collects the sums of floats stands on their steps and the limbs, integers on that."""
    broken = [
        i
        for i in inner_imports()
        if i.room == "_kernels"
        and i.file.stem != "__init__"
        and i.target != "_jit"
        and KERNEL_LEVELS[i.file.stem] <= KERNEL_LEVELS[i.name.split(".")[2]]
    ]
    assert not broken, listed(broken)


def test_libraries_stay_in_their_rooms():
    """numba, typer, pyarrow and the frameworks appear only in the rooms that are theirs."""
    broken = [i for i in other_imports() if i.room not in HOMES.get(i.library, ())]
    assert not broken, listed(broken)


def test_optional_libraries_are_imported_on_use():
    """Outside the rooms that open with it, an optional library is imported inside a function."""
    broken = [i for i in other_imports() if not i.lazy and (i.room, i.library) not in OPENS_WITH]
    assert not broken, listed(broken)


@pytest.mark.parametrize(
    ("source", "want"),
    [
        ("from . import _jit", [("fastnorm._jit", False)]),
        ("from ..moments import Moments", [("fastnorm.moments.Moments", False)]),
        ("def f():\n    import torch.nn", [("torch.nn", True)]),
        ("if TYPE_CHECKING:\n    import polars", [("polars", True)]),
    ],
)
def test_the_reader_sees_every_form_of_import(source, want, monkeypatch, tmp_path):
    """The laws above are only as good as the reading of import statements."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    file = tmp_path / ("files" if ".." in source else ".") / "csv.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(source)
    assert want == [(i.name, i.lazy) for i in imports_of(file)]


# What an import loads, seen from a new process


def python(code: str, **environment: str | None) -> str:
    """Run `code` in a new Python with `environment` on top of ours (None removes); its output."""
    merged = {k: v for k, v in {**os.environ, **environment}.items() if v is not None}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=merged,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize("statement", ["import fastnorm", "import fastnorm; dir(fastnorm)"])
def test_importing_fastnorm_loads_neither_numba_nor_any_framework(statement):
    """Public names are resolved on first use."""
    loaded = python(f"{statement}\nimport sys\nprint(*sys.modules)").split()
    assert set() == set(loaded) & set(HOMES)


def test_normalizing_an_array_loads_numba_alone():
    """The core pulls in no optional library."""
    loaded = python(
        """
        import sys
        import numpy as np
        import fastnorm
        x = np.ones((20_000, 3))
        fastnorm.Normalization().adapt(x).transform(x)
        print(*sys.modules)
        """
    ).split()
    by_numba = {"scipy"}  # where it is installed
    assert {"numba", "llvmlite"} == set(loaded) & set(HOMES) - by_numba


def test_the_version_is_that_of_the_installed_distribution():
    """One place holds the version: the distribution's metadata."""
    report = python(
        """
        import importlib.metadata
        import fastnorm
        print(fastnorm.__version__ == importlib.metadata.version("fastnorm-numba"))
        """
    )
    assert "True\n" == report


def test_a_source_tree_that_is_not_installed_works():
    """Where no distribution is found, the version is unknown, and files are read all the same."""
    report = python(
        """
        import importlib.metadata, tempfile
        importlib.metadata.Distribution.discover = lambda **_: iter(())
        import numpy as np
        import fastnorm
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            np.save(file.name, [[1.0], [3.0]])
            print(fastnorm.__version__, *fastnorm.adapt_files(file.name).mean)
        """
    )
    assert "0+unknown 2.0\n" == report


# Root passes over permission bits. Without these two capabilities it does not: the new process owns
# the files as before (another user could not even read a Python under /root) and is refused like
# any other owner.
GIVE_UP_ROOT = """
import ctypes, os, sys
if os.geteuid() == 0:
    PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
    libc = ctypes.CDLL(None)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, "-c", os.environ["SCRIPT"]])
"""

NORMALIZE = """
import pathlib
import numpy as np
import fastnorm

here = pathlib.Path(fastnorm.__file__).parent
print(here)
for folder in (here, here / "_kernels", here.parent):
    try:
        (folder / "new").touch()
    except OSError:
        pass
    else:
        raise SystemExit(f"{folder} can be written, so this test would prove nothing")

x = np.arange(12.0).reshape(4, 3)
layer = fastnorm.Normalization().adapt(x)
assert np.array_equal(layer.mean, [4.5, 5.5, 6.5])
assert np.allclose(layer.transform(x).std(axis=0), 1.0)
"""


@pytest.fixture
def read_only_install(tmp_path):
    """A folder with a copy of the package in which nothing can be written."""
    install = tmp_path / "site-packages"
    shutil.copytree(PACKAGE, install / "fastnorm", ignore=shutil.ignore_patterns("__pycache__"))
    everything = [install, *install.rglob("*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in everything}
    for path in everything:
        path.chmod(modes[path] & ~0o222)
    yield install
    for path in everything:
        path.chmod(modes[path])


@pytest.mark.posix
def test_a_read_only_install_without_a_home_works(read_only_install):
    """With no place for numba's cache, importing and normalizing still work."""
    ours = {name: None for name in os.environ if name.startswith(("FASTNORM_", "XDG_"))}
    nowhere = {"NUMBA_CACHE_DIR": None, "HOME": str(read_only_install / "home")}
    path = {"PYTHONPATH": str(read_only_install), "PYTHONSAFEPATH": "1"}
    output = python(GIVE_UP_ROOT, SCRIPT=NORMALIZE, **ours, **nowhere, **path)
    assert f"{read_only_install / 'fastnorm'}\n" == output


def test_the_package_under_test_is_this_tree():
    """The laws read the files that the tests run."""
    spec = importlib.util.find_spec("fastnorm")
    assert PACKAGE / "__init__.py" == Path(spec.origin)
