"""The examples that run over MPI: the same files for any number of ranks, and clear words where they cannot run."""

import importlib.util
import shutil
import subprocess
import sys

import pytest

from . import ranks

EXAMPLES = ranks.ROOT / "examples"
sys.path.insert(0, str(EXAMPLES))

import mpi_start  # noqa: E402

DCGAN = ["dcgan.py", "--images", "64", "--epochs", "1"]
STUDY = ["activation_report.py", "--quick", "--only=slopes", "--seeds=1", "--epochs=1", "--jobs=1"]


def run(script, *arguments, launch=(), code=0, **more):
    done = subprocess.run(
        [*launch, sys.executable, EXAMPLES / script, *map(str, arguments)],
        env=ranks.environment(PYTHONPATH=str(ranks.ROOT), **more), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@ranks.needs_mpi
def test_the_dcgan_draws_the_same_with_any_number_of_ranks(tmp_path):
    found = {}
    for name, more, launch in (
        ("one", ["--ranks", "1"], []),
        ("started itself", ["--ranks", "4"], []),
        ("mpiexec", [], [ranks.MPIEXEC, "-n", "2"]),
    ):
        said = run(*DCGAN, *more, "--out", tmp_path / name, launch=launch)
        assert said.count("epoch") == 1  # rank 0's line
        found[name] = said, files(tmp_path / name)
    assert found["one"] == found["started itself"] == found["mpiexec"]
    assert [path.name for path in found["one"][1]] == ["samples.png"]


@ranks.needs_mpi
def test_the_study_has_the_same_results_as_a_queue(tmp_path):
    found = {}
    for name, more, launch in (
        ("one", [], []),
        ("started itself", ["--ranks", "2"], []),
        ("mpiexec", [], [ranks.MPIEXEC, "-n", "4"]),
    ):
        run(*STUDY, *more, "--out", tmp_path / name, launch=launch)
        results = files(tmp_path / name)
        found[name] = {path: text for path, text in results.items() if path.parent.name == "runs"}
    assert len(found["one"]) == 7
    assert found["one"] == found["started itself"] == found["mpiexec"]


@ranks.needs_mpi
def test_a_run_that_fails_ends_the_study_and_is_named(tmp_path):
    said = run(
        "activation_report.py", "--data", "mnist", "--data-root", tmp_path, "--only", "layer",
        "--ranks", "3", "--out", tmp_path, code=1, MINIDL_DATA="", http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9",
    )  # fmt: skip
    assert "rank 1" in said or "rank 2" in said


def test_what_is_missing_is_said(monkeypatch):
    assert mpi_start.ranks(None).size == mpi_start.ranks(1).size == 1
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"--ranks needs mpi4py: pip install .minidl\[mpi\]"):
        mpi_start.ranks(2)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(SystemExit, match="--ranks needs mpiexec: pip install mpich"):
        mpi_start.ranks(2)
    # mpiexec of one MPI, mpi4py of another: each process believes to be alone, and would start others for ever.
    monkeypatch.setattr(shutil, "which", lambda name, path: "/opt/mpiexec")
    monkeypatch.setenv(mpi_start.STARTED, "1")
    with pytest.raises(SystemExit, match="/opt/mpiexec and mpi4py belong to different MPIs"):
        mpi_start.ranks(2)


@ranks.needs_mpi
def test_ranks_within_ranks_are_refused():
    launch = [ranks.MPIEXEC, "-n", "2"]
    said = run(*DCGAN, "--ranks", "3", launch=launch, code=1)
    assert "--ranks 3: mpiexec has started 2 ranks already" in said


@ranks.needs_mpi
def test_the_first_script_of_the_page_runs(tmp_path):
    page = (ranks.ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    script = tmp_path / "train.py"
    script.write_text(page.partition("```python\n")[2].partition("```")[0])
    accuracies = []
    for size, epochs in ((2, 2), (1, 5)):  # and the second resumes what the first has left
        script.write_text(script.read_text().replace("epochs=5", f"epochs={epochs}"))
        done = subprocess.run(
            [ranks.MPIEXEC, "-n", str(size), sys.executable, script], cwd=tmp_path, timeout=120,
            env=ranks.environment(PYTHONPATH=str(ranks.ROOT)), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        accuracies.append(float(done.stdout.strip().split("\n")[-1].removesuffix("%")))
        script.write_text(script.read_text().replace("epochs=2", "epochs=5"))
    assert 70 < accuracies[0] < accuracies[1]
