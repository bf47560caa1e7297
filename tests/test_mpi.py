"""Laws of MPI: the block of the guide, run by several processes; left out where mpi4py is not installed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import GUARD

from fastnorm import Moments

GUIDE = Path(__file__).parent.parent / "docs" / "distributed.md"
BEFORE = """
import numpy as np
from fastnorm import Moments, Normalization
from mpi4py import MPI

x = np.load("x.npy")
my_rows = np.array_split(x, MPI.COMM_WORLD.size)[MPI.COMM_WORLD.rank]
"""
AFTER = """
with open(f"rank-{MPI.COMM_WORLD.rank}", "wb") as file:
    file.write(total.to_bytes() + layer.mean.tobytes())
"""


@pytest.mark.parametrize("ranks", [2, 4])
def test_every_rank_has_the_bits_of_one_process(ranks, tmp_path):
    """Two ranks, or four, of which one has no rows."""
    x = np.random.default_rng(0).lognormal(0, 4, (3, 9))
    np.save(tmp_path / "x.npy", x)
    (block,) = re.findall(r"```python\n(from mpi4py.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "program.py").write_text(BEFORE + block + AFTER, "utf-8")
    here = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["mpiexec", "-n", str(ranks), sys.executable, "program.py"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PATH": here, "PYTHONPATH": str(GUIDE.parents[1])},
        text=True,
        timeout=GUARD,
    )
    assert 0 == done.returncode, done.stderr
    whole = Moments.of(x)
    found = [(tmp_path / f"rank-{rank}").read_bytes() for rank in range(ranks)]
    assert ranks * [whole.to_bytes() + whole.mean.tobytes()] == found
