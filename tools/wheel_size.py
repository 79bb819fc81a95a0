"""What wheels weigh, part by part: ``python tools/wheel_size.py WHEEL...``. Exit status 1 above 5.5 MB (10^6 bytes)."""

import os
import sys
import zipfile
from collections import Counter

LIMIT = 5_500_000
PARTS = {
    "_kernels/baseline/": "kernels, baseline",
    "_kernels/v3/": "kernels, v3",
    "_kernels/v4/": "kernels, v4",
}
COMPILED = (".so", ".pyd")


def part_of(name: str) -> str:
    """Which line of the table a file of the wheel belongs to."""
    if name.endswith(COMPILED):
        level = next((part for folder, part in PARTS.items() if folder in name), None)
        return level or "engine, and what else is compiled once"
    if ".dist-info/" in name:
        return "metadata"
    return "digits" if name.endswith(".gz") else os.path.splitext(name)[1] or name


def parts(wheel: str) -> Counter[str]:
    """{part: compressed bytes}; what the archive itself takes is a part, too."""
    sizes: Counter[str] = Counter()
    with zipfile.ZipFile(wheel) as file:
        for member in file.infolist():
            sizes[part_of(member.filename)] += member.compress_size
    sizes["the archive's headers"] = os.path.getsize(wheel) - sizes.total()
    return sizes


def show(wheel: str) -> int:
    """Prints the table; the wheel's size in bytes."""
    sizes = parts(wheel)
    for part, size in sizes.most_common():
        print(f"{size / 1e6:6.3f} MB  {part}")
    print(f"{sizes.total() / 1e6:6.3f} MB  {os.path.basename(wheel)}")
    return sizes.total()


def main(wheels: list[str]) -> str | None:
    """What is too large, in a sentence."""
    large = [wheel for wheel in wheels if show(wheel) > LIMIT]
    return f"more than {LIMIT / 1e6} MB: {', '.join(map(str, large))}" if large else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
