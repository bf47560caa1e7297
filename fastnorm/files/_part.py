"""What was learned from some rows of files: exact moments, and of tables which columns they belong to."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from fastnorm._frames import listed
from fastnorm.moments import Moments

#: Of each column of a table: True, it is a feature; None, it is one so far (text that reads as numbers, or nothing but
#: nulls); False, it is none.
Columns = dict[str, bool | None]


@dataclass(frozen=True, slots=True)
class Part:
    """Moments of some rows; ``columns`` is None for arrays, else the moments are those of `names`, in their order."""

    moments: Moments
    columns: Columns | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that the moments belong to."""
        return tuple(name for name, kind in (self.columns or {}).items() if kind is not False)

    def __add__(self, other: Part) -> Part:
        """Both together; a column that only may be a feature is dropped when the other says that it is none.

        Raises
        ------
        ValueError
            If the other does not have the features of this one.
        """
        if self.columns is None or other.columns is None or not self.moments.shape:  # no features with names
            if (mine := self.moments.shape) != (theirs := other.moments.shape):
                raise ValueError(f"has features of shape {theirs}, but the files before it have {mine}")
            return Part(self.moments + other.moments, self.columns or other.columns)
        both = Part(self.moments, self._merged(other))
        return Part(self._of(both.names) + other._of(both.names), both.columns)

    def _of(self, names: tuple[str, ...]) -> Moments:
        if names == self.names:
            return self.moments
        place = {name: index for index, name in enumerate(self.names)}
        return self.moments._chosen([place[name] for name in names])

    def _merged(self, other: Part) -> Columns:
        mine, theirs = self.columns or {}, other.columns or {}
        lacking = {
            "missing": [name for name, kind in mine.items() if kind is not False and name not in theirs],
            "extra": [name for name, kind in theirs.items() if kind is not False and name not in mine],
            "numeric in one only": [name for name in mine if name in theirs and self._differs(other, name)],
        }
        if found := "; ".join(f"{word} {listed(names)}" for word, names in lacking.items() if names):
            raise ValueError(
                f"does not have the columns of the files before it: {found}; mend that file, leave it out, or name the "
                "features with columns= (--columns)"
            )
        return {name: _kind(mine.get(name), theirs.get(name)) for name in mine | theirs}

    def _differs(self, other: Part, name: str) -> bool:
        """Whether a column holds numbers in one of both and something else in the other."""
        kinds = [(part, (part.columns or {})[name]) for part in (self, other)]
        if False not in (kind for _, kind in kinds):
            return False
        return any(kind or (kind is None and part._has_values(name)) for part, kind in kinds)

    def _has_values(self, name: str) -> bool:
        if not self.moments.shape:
            return False
        return bool(self.moments.missing[self.names.index(name)] < self.moments.rows)

    def settled(self) -> Part | None:
        """Without the columns that may be features but have no value at all; None if no feature is left."""
        if self.columns is None or (not self.moments.shape and None not in self.columns.values()):
            return self
        if not self.moments.shape:
            raise ValueError(
                "with axis=None (--axis none) only columns are taken that are sure to be numeric; name them with "
                "columns= (--columns)"
            )
        moments = self.moments
        given = dict(zip(self.names, (moments.missing < moments.rows).tolist(), strict=True))
        columns = {name: kind if kind is not None else given[name] for name, kind in self.columns.items()}
        left = Part(moments, columns)
        return Part(self._of(left.names), columns) if left.names else None

    def pack(self) -> dict[str, Any]:
        """As JSON."""
        return {"moments": base64.b64encode(self.moments.to_bytes()).decode("ascii"), "columns": self.columns}

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> Part:
        """The part that `pack` gave."""
        return cls(Moments.from_bytes(base64.b64decode(packed["moments"], validate=True)), packed["columns"])


def _kind(one: bool | None, other: bool | None) -> bool | None:
    return False if one is False or other is False else one or other
