"""What layers have in common: settings that stay, arrays that may be set, the parameter report, state files."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable
from functools import partial
from html import escape
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnorm import _apply, _layout, report, state
from fastnorm._apply import Affine, Direction
from fastnorm._arguments import checked_out, result_dtype
from fastnorm._frames import Frame
from fastnorm.report import Parameter

Floats = NDArray[np.float64]


class NotAdaptedError(ValueError):
    """A layer was used before it had seen data."""


class Layer:
    """A layer with parameters, as Keras has them."""

    _settings: ClassVar[frozenset[str]] = frozenset()  # attributes that are fixed when the layer is made
    # arrays that may be set: the setting that says whether the layer has it (None: always), and its value at first
    _weights: ClassVar[dict[str, tuple[str | None, float]]] = {}
    _passing: ClassVar[tuple[str, ...]] = ()  # attributes that are made anew when they are missed

    dtype: np.dtype[Any] | None
    threads: int | None

    _feature_names: tuple[str, ...] | None
    _gamma: Floats | None
    _beta: Floats | None

    def __init__(self) -> None:
        self._feature_names = None
        for name in self._weights:
            setattr(self, f"_{name}", None)
        self._made_lock = os.getpid(), threading.RLock()
        self._reset()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._settings and name in self.__dict__:
            kind = type(self).__name__
            raise AttributeError(f"{name} of a {kind} cannot be changed; make a new one: {kind}({name}=...)")
        object.__setattr__(self, name, value)

    def _reset(self) -> None:
        """Forget what was derived from parameters."""
        for name in self._passing:
            object.__setattr__(self, name, None)

    @property
    def _lock(self) -> Any:
        """The lock of this process: one that a thread held during a fork would stay locked in the child."""
        process, lock = self._made_lock
        if process != os.getpid():
            lock = threading.RLock()
            self._made_lock = os.getpid(), lock
        return lock

    def _feature_shape(self) -> tuple[int, ...] | None:
        """Shape of the features; None as long as it is not known."""
        raise NotImplementedError

    def _features(self) -> int | None:
        """Number of features; None as long as it may be any."""
        return None if (shape := self._feature_shape()) is None else math.prod(shape)

    def _check_adapted(self) -> None:
        """Raise NotAdaptedError if there are no parameters yet."""
        raise NotImplementedError

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Name of each feature, or None; kept in state files and shown in reports. May be set."""
        return self._feature_names

    @feature_names.setter
    def feature_names(self, names: Iterable[str] | None) -> None:
        self._feature_names = None if names is None else self._checked_names(names)

    def _checked_names(self, names: Iterable[str]) -> tuple[str, ...]:
        if isinstance(names, str):
            raise TypeError(f"feature_names is a single string ({names!r}); pass a list with one name for each feature")
        given = tuple(names)
        for name in given:
            if not isinstance(name, str):
                raise TypeError(f"feature_names must be strings, not {type(name).__name__} ({name!r})")
        if (features := self._features()) is not None and len(given) != features:
            raise ValueError(f"there are {len(given)} feature_names for {features} features; pass one for each")
        return given

    # ------------------------------------------------------------------------------------------ parameters

    def _weight(self, name: str) -> Floats:
        setting, first = self._weights[name]
        if setting is not None and not getattr(self, setting):
            raise AttributeError(f"this {type(self).__name__} has no {name}; make it with {setting}=True")
        if getattr(self, f"_{name}") is None:
            if (shape := self._feature_shape()) is None:  # known, too, where all rows were forgotten
                self._check_adapted()
                shape = self._feature_shape()
            assert shape is not None
            setattr(self, f"_{name}", np.full(shape, first))
        values: Floats = getattr(self, f"_{name}").view()
        values.flags.writeable = False
        return values

    def _set_weight(self, name: str, values: ArrayLike) -> None:
        shape = self._weight(name).shape
        array = _layout.as_floats(values, name)
        self._check_weight(name, array)
        try:
            array = np.broadcast_to(array, shape).copy()
        except ValueError:
            raise ValueError(f"{name} has shape {array.shape}, but the features have {shape}") from None
        with self._lock:
            setattr(self, f"_{name}", array)
            self._reset()

    def _check_weight(self, name: str, values: Floats) -> None:
        """Raise ValueError for values that this weight cannot have."""
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite")

    @property
    def gamma(self) -> Floats:
        """Trainable factor of each feature (float64, shape of the features); may be set."""
        return self._weight("gamma")

    @gamma.setter
    def gamma(self, values: ArrayLike) -> None:
        self._set_weight("gamma", values)

    @property
    def beta(self) -> Floats:
        """Trainable offset of each feature (float64, shape of the features); may be set."""
        return self._weight("beta")

    @beta.setter
    def beta(self, values: ArrayLike) -> None:
        self._set_weight("beta", values)

    # ----------------------------------------------------------------------------------------------- apply

    def _destination(self, array: Any, out: Any, given: Any) -> NDArray[Any] | None:
        """Where the results for ``array`` go: ``out``, checked, or a new array; a table makes its own."""
        if isinstance(array, Frame):
            return None if out is None else checked_out(array, out, given)
        plain = np.asarray(array)
        if out is None:
            try:
                return np.empty_like(plain, result_dtype(self.dtype, plain.dtype), subok=False)
            except MemoryError as error:
                raise MemoryError(
                    f"there is no memory for the result ({error}); pass out=x to work in place, or fewer rows at a time"
                ) from None
        return checked_out(plain, out, given)

    def _write(self, array: Any, destination: Any, kept: tuple[int, ...], affine: Affine, direction: Direction) -> Any:
        """Fill the destination; a table or a masked array gives its like."""
        if direction == "inverse" and affine.gamma is not None and not affine.gamma.all():
            raise ValueError(
                f"gamma of feature {int((affine.gamma == 0).argmax())} is 0: what was scaled is beta, whatever it had "
                "been, and cannot be scaled back; set gamma to other numbers"
            )
        if isinstance(array, Frame):
            return array.apply(kept, affine, direction, partial(result_dtype, self.dtype), self.threads)
        plain, mask = np.asarray(array), _layout.mask_of(array)
        _apply.run(np.atleast_1d(plain), np.atleast_1d(destination), kept, affine, direction, self.threads)
        return destination if mask is None else np.ma.array(destination, mask=mask.copy())

    def _returned(self, result: Any, out: Any) -> Any:
        """The result, or ``out`` if it was written there: what is masked is masked there too, or NaN."""
        if isinstance(out, np.ma.MaskedArray):
            out.mask = np.ma.getmask(result)
        elif out is not None and (mask := _layout.mask_of(result)) is not None:
            np.copyto(out, np.nan, where=mask)
        return result if out is None else out

    # ---------------------------------------------------------------------------------------------- report

    def parameters(self) -> list[Parameter]:
        """Return name, shape, dtype, trainable, size and bytes of each parameter, in the order of `get_weights`."""
        raise NotImplementedError

    def count_params(self) -> int:
        """Return the total number of parameters, trainable or not."""
        return sum(parameter.size for parameter in self.parameters())

    def _show(self, draw: Callable[..., str], parameters: list[Parameter], **options: Any) -> str:
        kind, name = type(self).__name__, self._label()
        return draw(name, f"{name} ({kind})", self._output_shape(), parameters, **options)

    def _label(self) -> str:
        """The name of the layer in reports."""
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in type(self).__name__).lstrip("_")

    def _output_shape(self) -> tuple[int | None, ...]:
        """Shape of a result, None for the rows."""
        shape = self._feature_shape()
        assert shape is not None
        return None, *shape

    def _repr_html_(self) -> str:
        try:
            return self._show(report.html, self.parameters())
        except NotAdaptedError:
            return f"<pre>{escape(repr(self))}</pre>"

    # ----------------------------------------------------------------------------------------------- state

    def copy(self) -> Self:
        """Return an independent layer in the same state."""
        twin = object.__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {name: value for name, value in self.__dict__.items() if name not in ("_made_lock", *self._passing)}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        lock = self.__dict__.get("_made_lock") or (os.getpid(), threading.RLock())
        self.__dict__.update(saved, _made_lock=lock)
        self._reset()

    def _document(self) -> dict[str, Any]:
        """What a state file holds."""
        raise NotImplementedError

    @classmethod
    def _of_document(cls, document: dict[str, Any]) -> Self:
        """The layer of a state file; any of KeyError, TypeError, ValueError, AttributeError if there is none."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the exact state to a file (JSON, see docs/state.md), atomically: a crash leaves the earlier file.

        Raises
        ------
        OSError
            If the file cannot be written; an earlier one is then as it was.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from fastnorm import Normalization
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "state.json"
        >>> Normalization().adapt([[1.0], [3.0]]).save(path)
        >>> Normalization.load(path).mean
        array([2.])
        """
        state.write(path, self._saved())

    def _saved(self) -> dict[str, Any]:
        """What a state file holds of the layer: `_document`, and what all layers have."""
        with self._lock:
            document = self._document()
            names = None if self.feature_names is None else list(self.feature_names)
            for name in self._weights:
                if (values := getattr(self, f"_{name}")) is not None:
                    document[name] = state.pack(values)
        return {"class": type(self).__name__, "feature_names": names, **document}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the layer that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, incomplete, something else or of a newer version.
        """
        return cls._of_saved(state.read(path), path)

    @classmethod
    def _of_saved(cls, document: dict[str, Any], path: str | os.PathLike[str]) -> Self:
        if document.get("class") != cls.__name__:
            raise ValueError(f"{path} holds a {document.get('class')}, not a {cls.__name__}")
        try:
            layer = cls._of_document(document)
            layer.feature_names = document["feature_names"]
            for name in cls._weights:
                if name in document:
                    values = state.unpack(document[name])
                    if values.shape != layer._weight(name).shape:
                        raise ValueError(f"{name} has another shape than the features")
                    layer._set_weight(name, values)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"{path} holds no state that a {cls.__name__} can have ({error}); adapt again") from error
        return layer
