"""A small process that is warm: each of its children normalizes a file in place, and may be killed on the way.

To fork the process of all tests, which has every framework in memory, takes longer than the work itself.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


class Nursery:
    """Starts the process; `run` makes a child of it."""

    def __init__(self, layer, region):
        words = [sys.executable, "-W", "ignore::DeprecationWarning", __file__, str(layer), str(region)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def run(self, path, raw=None, delay=None):
        """Exit status and seconds of a child that normalizes ``path`` in place, killed after ``delay`` seconds."""
        self.process.stdin.write(json.dumps([str(path), raw, delay]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.stdout.close()
        assert 0 == self.process.wait(timeout=60)


def main(layer, region):
    import h5py  # noqa: F401
    import numpy as np
    import xxhash  # noqa: F401
    import zarr  # noqa: F401
    from crashes import in_child

    import fastnorm.files.hdf5
    import fastnorm.files.zarr  # noqa: F401
    from fastnorm import Normalization, normalize_files
    from fastnorm.files import _arrays

    _arrays.REGION = int(region)
    layer = Normalization._of_saved(json.loads(Path(layer).read_text("utf-8")), layer)
    layer.transform(np.zeros((4, *layer.mean.shape), "float32"))
    for line in sys.stdin:
        path, raw, delay = json.loads(line)
        raw = raw and (raw[0], tuple(raw[1]))
        start = time.perf_counter()
        status = in_child(lambda: normalize_files(path, None, layer, raw=raw), delay)  # noqa: B023
        print(json.dumps([status, time.perf_counter() - start]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
