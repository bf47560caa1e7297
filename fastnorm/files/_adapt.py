"""Learn from files of any size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastnorm import policy
from fastnorm._frames import listed
from fastnorm.files._checkpoint import Checkpoint
from fastnorm.files._errors import is_of_disk, named_error
from fastnorm.files._inplace import is_normalized
from fastnorm.files._journal import check_whole
from fastnorm.files._open import Reading
from fastnorm.files._part import Part
from fastnorm.files._place import Source
from fastnorm.files._progress import Progress
from fastnorm.files._shards import Shard, shards
from fastnorm.files._steps import Axis, steps
from fastnorm.moments import Moments
from fastnorm.normalization import Normalization


def adapt_files(
    source: Source | Iterable[Source],
    *,
    columns: Sequence[str] | None = None,
    axis: Axis = -1,
    key: str | None = None,
    raw: tuple[DTypeLike, tuple[int, ...]] | None = None,
    checkpoint: Source | None = None,
    skipped: list[tuple[str, Exception]] | None = None,
    progress: bool = False,
    threads: int | None = None,
    **settings: Any,
) -> Normalization:
    """Return a `Normalization` adapted to files, read in parts: the same bits as from one array of all their rows.

    Parameters
    ----------
    source : path, URL or iterable of them
        Files, folders (all data files below them) or patterns with ``*``. The result does not depend on their order.
    columns : sequence of str, optional
        The columns of tables that are features, in this order. By default every numeric one: of text, those that read
        as numbers in all files. They become the ``feature_names`` of the layer.
    axis : int, tuple of int or None
        Axes of arrays that are kept, as for `Normalization`.
    key : str, optional
        The array in a file that holds several (HDF5, npz, safetensors, Zarr).
    raw : (dtype, shape), optional
        What a file without a header holds; one length of the shape may be -1.
    checkpoint : path, optional
        Where to keep what is done, so that the same call goes on after a crash. It is removed at the end.
    skipped : list, optional
        Takes ``(name, error)`` of each file that cannot be read, which is then left out; without it that is an error.
    progress : bool
        Show a progress bar, if the output is a terminal.
    threads : int, optional
        Most threads to compute with; one more reads ahead.
    **settings
        Those of `Normalization`.

    Raises
    ------
    OSError
        If a file is not there or cannot be read.
    ValueError
        If a file is damaged, does not have the features of the others, or was normalized in place and others were not;
        the message begins with its name.
    ImportError
        If the package of a format is not installed; the message says what to install.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from fastnorm import adapt_files
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> np.save(folder / "a.npy", [[1.0], [2.0]])
    >>> np.save(folder / "b.npy", [[6.0]])
    >>> adapt_files(folder).mean
    array([3.])
    """
    layer = Normalization(axis, threads=threads, **settings)
    found = shards(source)
    reading = Reading(key, columns, raw)
    reading.check(shard.place for shard in found)
    found = _alike(found, reading, skipped)
    words = None if raw is None else [str(np.dtype(raw[0])), raw[1]]
    names = None if columns is None else list(columns)
    done = Checkpoint(checkpoint, {"axis": axis, "columns": names, "key": key, "raw": words})
    found, flat = done.sort(found), False
    with Progress(progress, sum(shard.place.size() for shard in found), "adapt") as bar:
        for shard in found:
            try:
                flat |= _scan(shard, layer, reading, done, bar)
            except (OSError, ValueError, TypeError) as error:
                named = named_error(shard.place, error)
                if skipped is None or is_of_disk(error):
                    done.save()
                    raise named from error
                done.drop()
                skipped.append((shard.place.name, named))
            except BaseException:
                done.save()
                raise
    given = ", ".join(shard.place.name for shard in found[:3]) + (", ..." if len(found) > 3 else "")
    if done.total is None or not done.total.moments.rows:
        raise ValueError(f"{given}: none could be read" if skipped else f"{given}: there are no rows to learn from")
    if (total := done.total.settled()) is None:
        raise ValueError(f"{given}: no numeric columns among {listed(list(done.total.columns or ()))}")
    if flat and total.moments.shape and total.moments.rows == 1:
        size = total.moments.shape[0]
        raise ValueError(
            f"{given} holds a 1-D array, which is one row of {size} features, and of one row no variance can be "
            f"learned; pass axis=None (--axis none) for one feature of {size} values"
        )
    layer = Normalization.from_moments(total.moments, axis=axis, threads=threads, **settings)
    if total.names and total.moments.shape:
        layer.feature_names = total.names
    done.remove()
    return layer


def _alike(found: list[Shard], reading: Reading, skipped: list[tuple[str, Exception]] | None) -> list[Shard]:
    """The files without those that were normalized in place, if others were not."""
    done = [shard for shard in found if is_normalized(shard.place, reading)]
    if not 0 < len(done) < len(found):
        return found
    what = "normalized in place already, and the other files are not"
    if skipped is None:
        names = ", ".join(shard.place.name for shard in done[:3]) + (", ..." if len(done) > 3 else "")
        raise ValueError(
            f"{names}: {what}: nothing can be learned from both together; turn these back with `fastnorm inverse`, or "
            "name the others alone"
        )
    skipped += [(shard.place.name, ValueError(f"{shard.place.name}: {what}")) for shard in done]
    return [shard for shard in found if shard not in done]


def _scan(shard: Shard, layer: Normalization, reading: Reading, done: Checkpoint, bar: Progress) -> bool:
    """Take in a file; whether it holds a 1-D array, which is one row."""
    check_whole(shard.place)
    before = done.begin(shard.place)
    if before is None:
        bar.add(shard.place.size())
        return False
    flat = False
    with steps(shard.place, layer.axis, reading, before) as parts:
        for step in parts:
            flat = step.columns is None and step.data.ndim == 1
            done.add(Part(Moments.of(step.data, layer.axis, threads=layer.threads), step.columns))
            bar.add(step.size)
    if done.part is not None and (sure := done.part.settled()) is not None:
        policy.check_batch(sure.moments, layer.nan, layer.inf)
    done.end(shard.place)
    return flat
