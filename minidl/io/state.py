"""What a module's state is: arrays by name, and how each parameter is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class StateDict(dict[str, Any]):
    """Arrays by name (``layers.0.weight``): what `Module.state_dict` gives.

    Attributes:
        multipliers: for each parameter's name its ``lr_mult`` and ``decay``.

    >>> StateDict({"slope": 0.25}, {"slope": {"lr_mult": 2.0, "decay": False}}).multipliers
    {'slope': {'lr_mult': 2.0, 'decay': False}}
    """

    def __init__(
        self,
        items: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        multipliers: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(items)
        self.multipliers: dict[str, dict[str, Any]] = dict(multipliers or {})

    def copy(self) -> StateDict:
        """A shallow copy, multipliers included."""
        return StateDict(self, {name: dict(values) for name, values in self.multipliers.items()})
