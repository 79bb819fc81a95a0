"""Numbers and tables as text."""

from __future__ import annotations


def in_bytes(n: float) -> str:
    """A number of bytes, to three digits: 1.05 MB are 1,050,000 bytes."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while n >= 999.5 and len(units) > 1:
        n, units = n / 1000, units[1:]
    return f"{n:.3g} {units[0]}"


def aligned(lines: list[list[str]], left: int) -> list[str]:
    """Lines of as many cells each, in columns: the first `left` of them are aligned at the left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
