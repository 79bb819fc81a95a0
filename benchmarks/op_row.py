"""What a row of the section `ops` is."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One way of calling a function.

    Attributes:
        covers: the public name, "ops.x" or "F.x".
        label: what tells this row from others of the same function; "" for the plain one.
        operands: their shapes, in the order x, y, z, u, v, w.
        ours, theirs: expressions of `ops`, `F` and `md` here, of `torch` and `G` (torch.nn.functional) there.
        modes: "forward", and "both" if it has gradients.
        random: the results differ between the libraries.
    """

    covers: str
    label: str
    operands: str
    ours: str
    theirs: str
    modes: tuple[str, ...] = ("forward", "both")
    random: bool = False

    @property
    def name(self) -> str:
        short = self.covers.partition(".")[2]
        return f"{short} {self.label}".strip() + f" ({self.operands})" * bool(self.operands)

    def case(self) -> dict:
        return {
            "kind": "call",
            "name": self.name,
            "operands": self.operands.split(),
            "calls": {"minidl": self.ours, "torch": self.theirs},
            "modes": self.modes,
            "random": self.random,
        }


def row(covers: str, operands: str, ours: str, theirs: str = "", label: str = "", **how) -> Row:
    theirs = theirs or re.sub(r"\bF\.", "G.", re.sub(r"\bops\.", "torch.", ours))
    return Row(covers, label, operands, ours, theirs, **how)


def forward(covers: str, operands: str, ours: str, theirs: str = "", label: str = "", **how) -> Row:
    return row(covers, operands, ours, theirs, label, modes=("forward",), **how)


ROWS_OF = "64x1000"  # 64,000 elements: two threads may gain, but little
