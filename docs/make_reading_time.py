"""Counts the lines on docs/reading_time.md again: python docs/make_reading_time.py"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reading_time.md"
SECTION = re.compile(
    r"<!-- reading: (\d+) lines a minute -->\n.*?\*\*[^*]*lines, [^*]* hours\.\*\*", re.DOTALL
)
ROW = re.compile(r"^\| (\[[^\]]+\]\(([^)]+)\)) \| (\d+) \| (\d+) \|", re.MULTILINE)
TOTAL = re.compile(r"(\*\*[^*]*?: )[\d,]+ lines, [\d.]+ hours")


def lines_of(target: str) -> int:
    """Lines of a file that the page links to."""
    return len((PAGE.parent / target).read_text(encoding="utf-8").splitlines())


def renewed(page: str) -> str:
    """The page with the right numbers."""

    def section(match: re.Match) -> str:
        speed, total = int(match[1]), 0

        def row(cells: re.Match) -> str:
            nonlocal total
            lines = lines_of(cells[2])
            total += lines
            return f"| {cells[1]} | {lines} | {round(lines / speed)} |"

        text = ROW.sub(row, match[0])
        return TOTAL.sub(lambda m: f"{m[1]}{total:,} lines, {total / speed / 60:.1f} hours", text)

    return SECTION.sub(section, page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
