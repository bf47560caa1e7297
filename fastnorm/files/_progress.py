"""A progress bar with rate and remaining time, where somebody looks at a terminal."""

from __future__ import annotations

import sys
from typing import Any

from fastnorm.files._place import install


class Progress:
    """Counts bytes; shows them if ``wanted`` and the output is a terminal."""

    def __init__(self, wanted: bool, total: int, label: str) -> None:
        self._bar: Any = None
        if wanted and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError as error:
                raise install("tqdm", error) from error
            self._bar = tqdm(total=total, desc=label, unit="B", unit_scale=True, smoothing=0.05)

    def add(self, size: int) -> None:
        """Say that so many bytes more are done."""
        if self._bar is not None:
            self._bar.update(size)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            if error[0] is None:
                self._bar.update(self._bar.total - self._bar.n)  # headers and the like are no steps
            self._bar.close()
