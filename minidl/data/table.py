"""Tables of numbers with a target, from CSV files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import check
from minidl.io import files

MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}  # in any case


class Table(tuple):
    """The pair (x, y) of a table: ``x, y = table``.

    Attributes:
        columns: the names of x's columns.
        classes: what the labels y mean, or None where y are numbers of the file.

    >>> x, y = Table((np.zeros((3, 1)), np.arange(3)))
    >>> x.shape, y
    ((3, 1), array([0, 1, 2]))
    """

    columns: list[str]
    classes: list[str] | None


def read_csv(
    path: str | os.PathLike[str],
    target: str,
    classes: Sequence[str] | None = None,
    delimiter: str = ",",
) -> Table:
    """A table of numbers as arrays: the column `target` is y, all others are x.

    The first line has the names of the columns. Values may be in quotes; the encoding is UTF-8.

    Args:
        target: the name of a column. Text in it becomes labels: 0 for the first of the distinct texts in
            alphabetical order, and so on.
        classes: the texts in the order of their labels; for a test set, those of the training set
            (``train.classes``), as one of them may be missing in it.
        delimiter: what separates the values: ",", ";" or a tab.

    Returns:
        A pair (x, y), with the names in ``.columns`` and ``.classes``: x float32 (rows, columns); y
        (rows,), int64 if it is labels or integers, else float32.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: a missing value, text outside of the target or a number out of float32's range (the
            message gives line and column); a line of another length; no such target; no header; not UTF-8.

    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "flowers.csv")
    >>> _ = path.write_text("length,width,kind\\n5.1,3.5,setosa\\n7,3.2,versicolor\\n4.9,3,setosa\\n")
    >>> table = read_csv(path, "kind")
    >>> x, y = table
    >>> x.shape, y, table.columns, table.classes
    ((3, 2), array([0, 1, 0]), ['length', 'width'], ['setosa', 'versicolor'])
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"read_csv: path must be a string or a Path, got {path!r}")
    for argument, value in (("target", target), ("delimiter", delimiter)):
        if not isinstance(value, str):
            raise TypeError(f"read_csv: {argument} must be a string, got {value!r}")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"read_csv: delimiter must be one character, got {delimiter!r}")
    if classes is not None:
        classes = check.items("read_csv", "classes", classes, "strings")
        if len(set(map(str, classes))) < len(classes) or not classes:
            raise ValueError(f"read_csv: classes must be different strings, got {classes}")
    header, rows, lines = _cells(path, delimiter)
    if target not in header:
        raise ValueError(
            f"read_csv: {path} has no column {target!r}; its columns are {', '.join(map(repr, header))}"
        )
    where = _Where(path, lines)
    cells = dict(zip(header, zip(*rows, strict=True), strict=True))
    y, classes = _target(cells.pop(target), target, where, classes)
    x = np.empty((len(rows), len(cells)), np.float32)
    for i, (column, values) in enumerate(cells.items()):
        x[:, i] = _numbers(values, column, where)
    table = Table((x, y))
    table.columns, table.classes = list(cells), classes
    return table


class _Where:
    """Names a cell in errors."""

    def __init__(self, path: Any, lines: Sequence[int]) -> None:
        self.path, self.lines = path, lines

    def __call__(self, row: int, column: str) -> str:
        return f"read_csv: {self.path}, line {self.lines[row]}, column {column!r}"


def _cells(path: Any, delimiter: str) -> tuple[list[str], list[list[str]], list[int]]:
    """The names of the columns; the cells of each row; the line in which each row ends."""
    with files.regular("read_csv", path) as file:
        try:
            text = io.TextIOWrapper(file, "utf-8-sig", newline="")
            reader = csv.reader(text, delimiter=delimiter, strict=True, skipinitialspace=True)
            found = [([cell.strip() for cell in row], reader.line_num) for row in reader if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"read_csv: {path} is not a CSV file in UTF-8 ({error})") from None
    if not found:
        raise ValueError(f"read_csv: {path} is empty")
    (header, _), *rest = found
    if all(_is_number(cell) for cell in header):
        raise ValueError(
            f"read_csv: {path} has no header: expected the names of the columns in the first line, "
            f"got {', '.join(header[:4])} ..."
        )
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise ValueError(f"read_csv: {path} has more than one column {twice!r}")
    for row, line in rest:
        if len(row) != len(header):
            raise ValueError(
                f"read_csv: {path}, line {line}: {len(row)} values for {len(header)} columns"
            )
    if not rest:
        raise ValueError(f"read_csv: {path} has a header, and no rows")
    return header, [row for row, _ in rest], [line for _, line in rest]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(cells: Sequence[str], column: str, where: _Where) -> np.ndarray:
    """The cells of a column as float64, each within the range of float32."""
    largest = float(np.finfo(np.float32).max)
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))
        if (np.abs(values) <= largest).all():
            return values
    except ValueError:
        pass
    for row, cell in enumerate(cells):  # which of them is it?
        place = where(row, column)
        if cell.lower() in MISSING:
            raise ValueError(f"{place}: the value is missing ({cell!r})")
        if not _is_number(cell):
            raise ValueError(
                f"{place}: {cell!r} is not a number; only the target may be text: write categories as "
                "numbers, or one column for each"
            )
        if not abs(float(cell)) <= largest:
            raise ValueError(f"{place}: {cell} is out of float32's range")
    raise AssertionError("every cell is a number")


def _target(
    cells: Sequence[str], target: str, where: _Where, classes: Sequence[str] | None
) -> tuple[np.ndarray, list[str] | None]:
    """y, and the names of its classes if it is text."""
    for row, cell in enumerate(cells):
        if cell.lower() in MISSING:
            raise ValueError(f"{where(row, target)}: the target is missing ({cell!r})")
    if classes is None and all(map(_is_number, cells)):
        values = _numbers(cells, target, where)
        try:
            return np.array([int(cell) for cell in cells], np.int64), None
        except (ValueError, OverflowError):  # with a decimal point, or very large
            return values.astype(np.float32), None
    names = sorted(set(cells)) if classes is None else [str(name) for name in classes]
    labels = {name: label for label, name in enumerate(names)}
    for row, cell in enumerate(cells):
        if cell not in labels:
            raise ValueError(
                f"{where(row, target)}: {cell!r} is none of the classes {', '.join(names)}"
            )
    return np.array([labels[cell] for cell in cells], np.int64), names
