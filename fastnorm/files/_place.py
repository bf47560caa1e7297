"""Where data lie: a local path, or a URL that fsspec knows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

Source = str | os.PathLike[str]


def install(package: str, error: ImportError) -> ImportError:
    """An error for a package that is not there, with the command that installs it."""
    return ImportError(
        f"this needs the package {package} ({error}); install it with: python -m pip install 'fastnorm-numba[files]'"
    )


@dataclass(frozen=True, slots=True)
class Place:
    """One file or store. ``path`` is None for a URL."""

    name: str
    path: Path | None

    @classmethod
    def of(cls, source: Source) -> Place:
        """The place that a user names."""
        text = os.fspath(source)
        if text.startswith("file://"):
            text = text.removeprefix("file://")
        return cls(text, None if "://" in text else Path(text))

    def open(self, mode: str = "rb") -> IO[bytes]:
        """The bytes as a file object."""
        if self.path is not None:
            return self.path.open(mode)
        try:
            return self.filesystem().open(self.name, mode)  # type: ignore[no-any-return]
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.name}: there is no such file") from error

    def filesystem(self) -> Any:
        """The fsspec file system of a URL."""
        return self._remote()[0]

    def _remote(self) -> tuple[Any, str]:
        """The file system of a URL, and its one name there."""
        try:
            import fsspec
        except ImportError as error:
            raise install("fsspec", error) from error
        try:
            return fsspec.core.url_to_fs(self.name)  # type: ignore[no-any-return]
        except ImportError as error:
            raise ImportError(f"{self.name} cannot be opened: {error}; then repeat the call") from error
        except ValueError as error:
            raise ValueError(f"{self.name} cannot be opened: {error}") from error

    def size(self) -> int:
        """Bytes of the file, of all files below a folder; 0 where it is not known."""
        if self.path is None:
            try:
                return int(self.filesystem().size(self.name) or 0)
            except FileNotFoundError:  # a store is no file on every system
                return 0
        if self.path.is_dir():
            return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        return self.path.stat().st_size if self.path.exists() else 0

    def identity(self) -> object:
        """What two names of one file have in common: links to it, too."""
        if self.path is None:
            return self._remote()
        if not self.path.exists():
            return self.name
        status = self.path.stat()
        return status.st_dev, status.st_ino

    @property
    def suffix(self) -> str:
        """The last suffix in small letters; of "a.csv.gz" both."""
        suffixes = Path(self.name.rstrip("/")).suffixes[-2:]
        text = "".join(suffixes).lower()
        return text if text.endswith(".gz") else (suffixes[-1].lower() if suffixes else "")
