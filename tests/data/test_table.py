"""read_csv: numbers, targets, and what is said of cells that are neither."""

import numpy as np
import pytest

from minidl.data import DataLoader, read_csv


@pytest.fixture
def read(tmp_path):
    def call(text, target="y", **more):
        path = tmp_path / "t.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_csv(path, target, **more)

    return call


@pytest.mark.parametrize(
    ("text", "y", "classes"),
    [
        ("a,y,b\n1,0,2\n3,1,4\n", np.array([0, 1], np.int64), None),
        ("a,b,y\n1,2,0.5\n3,4,1\n", np.array([0.5, 1], np.float32), None),
        ("y,a,b\ndog,1,2\ncat,3,4\n", np.array([1, 0], np.int64), ["cat", "dog"]),
        ("y,a,b\n1,1,2\nx,3,4\n", np.array([0, 1], np.int64), ["1", "x"]),
        ('\ufeff"a", "y", b \r\n"1",dog, 2\r\n\r\n3,cat,4\r\n', np.array([1, 0]), ["cat", "dog"]),
    ],
)
def test_numbers_and_targets(read, text, y, classes):
    table = read(text)
    x, found = table
    assert x.dtype == np.float32 and x.tolist() == [[1, 2], [3, 4]]
    assert found.dtype == y.dtype and found.tolist() == y.tolist()
    assert table.columns == ["a", "b"] and table.classes == classes
    ((rows, targets),) = DataLoader(table, 2)
    assert rows.tolist() == x.tolist() and targets.tolist() == y.tolist()


def test_classes_of_the_training_set(read):
    train = read("a,y\n1,cat\n2,cow\n3,dog\n")
    test = read("a,y\n1,dog\n2,dog\n", classes=train.classes)
    assert test[1].tolist() == [2, 2] and test.classes == ["cat", "cow", "dog"]
    assert read("a,y\n1,3\n2,7\n", classes=["7", "3"])[1].tolist() == [1, 0]
    with pytest.raises(
        ValueError, match="line 3, column 'y': 'emu' is none of the classes cat, cow"
    ):
        read("a,y\n1,dog\n2,emu\n", classes=train.classes)


def test_other_delimiters_and_numbers(read):
    x, _ = read("a;y\n1e-3;1\n-2.5;2\n", delimiter=";")
    assert x.tolist() == [[np.float32(1e-3)], [-2.5]]
    assert read(f"a,y\n1,{2**62 + 1}\n")[1].tolist() == [2**62 + 1]  # not by way of floats


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,y\n1,,0\n", r"t\.csv, line 2, column 'b': the value is missing \(''\)"),
        ("a,b,y\n1,2,0\n1,NA,0\n", r"line 3, column 'b': the value is missing \('NA'\)"),
        ("a,y\n1,0\n\n\n2,nan\n", r"line 5, column 'y': the target is missing \('nan'\)"),
        ("a,y\nnan,0\n", "column 'a': the value is missing"),
        ('a,y\n"1\n2",0\nred,0\n', "column 'a': '1\\\\n2' is not a number"),
        ("a,y\nred,0\n", "line 2, column 'a': 'red' is not a number; only the target may be text"),
        ("a,y\n1e39,0\n", "line 2, column 'a': 1e39 is out of float32's range"),
        ("a,y\ninf,0\n", "inf is out of float32's range"),
        ("a,y\n1,0,3\n", "line 2: 3 values for 2 columns"),
        ("a,y\n1\n", "line 2: 1 values for 2 columns"),
        ("a,b\n1,2\n", "has no column 'y'; its columns are 'a', 'b'"),
        ("1,2\n3,4\n", "has no header"),
        ("a,y,a\n1,2,3\n", "more than one column 'a'"),
        ("a,y\n", "a header, and no rows"),
        ("", "is empty"),
        (b"a,y\n1,\xff\n", r"not a CSV file in UTF-8 \(.*0xff"),
        ('a,y\n1,"2\n', "not a CSV file in UTF-8"),
    ],
)
def test_what_is_wrong_is_said(read, text, message):
    with pytest.raises(ValueError, match=f"read_csv: .*{message}"):
        read(text)


def test_wrong_arguments(read, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"read_csv: .*none\.csv is not there"):
        read_csv(tmp_path / "none.csv", "y")
    for more in ({"delimiter": ""}, {"delimiter": '"'}, {"classes": ["a", "a"]}, {"classes": []}):
        with pytest.raises(ValueError, match=f"read_csv: {next(iter(more))} must be"):
            read("a,y\n1,2\n", **more)
