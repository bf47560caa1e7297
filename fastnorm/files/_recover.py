"""Complete or take back what a run in place left when it was stopped."""

from __future__ import annotations

from pathlib import Path

from fastnorm import _layout
from fastnorm.files._beside import beside, locked
from fastnorm.files._errors import named_error
from fastnorm.files._inplace import Run
from fastnorm.files._journal import Journal
from fastnorm.files._open import Reading, open_array
from fastnorm.files._place import Place, Source
from fastnorm.files._progress import Progress
from fastnorm.normalization import Normalization


def recover(path: Source, *, roll_back: bool = False, progress: bool = False) -> list[str]:
    """Complete what `normalize_files` in place left undone when it was stopped, from its journal alone.

    Parameters
    ----------
    path : path
        A file, or a folder: then all files below it.
    roll_back : bool
        Bring back what the file held before instead. That is possible as long as no more than one region (about
        32 MB) has changed.
    progress : bool
        Show a progress bar, if the output is a terminal.

    Returns
    -------
    list of str
        The files that are whole again; empty if there was nothing to recover.

    Raises
    ------
    OSError
        If there is no such file, it cannot be written, or another process is at work on it.
    ValueError
        If something else changed the file in between, or too much is done to roll back; nothing is written then.

    Examples
    --------
    >>> import tempfile
    >>> from fastnorm import recover
    >>> recover(tempfile.mkdtemp())
    []
    """
    place = Place.of(path)
    if place.path is None:
        raise ValueError(f"{place.name}: files behind a URL are never changed in place, so there is nothing to recover")
    if not place.path.exists():
        raise FileNotFoundError(f"{place.name}: there is no such file or folder")
    here, suffix = place.path.resolve(), beside(Path("x"), "journal").name.removeprefix(".x")
    found = [beside(here, "journal"), *(sorted(here.rglob(f".*{suffix}")) if here.is_dir() else ())]
    targets = [folder.with_name(folder.name.removesuffix(suffix)[1:]) for folder in found if folder.is_dir()]
    return [str(target) for target in targets if _recover(target, roll_back, progress)]


def _recover(target: Path, roll_back: bool, progress: bool) -> bool:
    place = Place.of(target)
    try:
        with locked(target):
            if (journal := Journal.resume(target)) is None:
                return False
            layer = Normalization._of_saved(journal.plan["layer"], journal.folder)
            key, raw = journal.plan["opened"]["key"], journal.plan["opened"]["raw"]
            reading = Reading(key, None, raw and (_layout.float_dtype(raw[0]), tuple(raw[1])))
            with (
                open_array(place, reading, writable=True) as file,
                Progress(progress, place.size(), "recover") as bar,
            ):
                run = Run(file, target, layer, journal)
                if roll_back:
                    run.roll_back()
                else:
                    run.complete(bar)
        return True
    except (OSError, ValueError) as error:
        raise named_error(place, error) from error
