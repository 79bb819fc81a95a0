"""A rank that raises, hangs, dies or differs ends all, says why, and leaves a checkpoint that can be resumed."""

import os
import re
import signal
import time

import pytest

import minidl as md
from minidl.distributed.faults import said

from . import ranks

SAME = r"ended: (?:the same as on rank \d|rank \d says: rank 2 differs)"
OTHERS = r"ended: (?:the same as on rank \d|ranks 2, 3 differ|rank \d says: ranks 2, 3 differ)"
CAUGHT = r"ended: (?:this rank raised Here.*, and the program caught it|rank \d raised Here)"
# What one of 4 ranks does, in tests/distributed/faulty.py -> what is said once, and what how many others say.
CASES = {
    "raises": (r"rank 2 of 4:\nTraceback", r"ended: rank 2 raised Here: this is the message\n", 3),
    "all_raise": (r"rank \d of 4:\nTraceback", r"ended: the same as on rank \d\n", 3),
    "raises_outside": (r"rank 2 of 4:\nTraceback", r"ended: rank 2 raised Here", 3),
    "is_interrupted": (r"rank 2 of 4: interrupted \(Ctrl-C\)", r"ended: rank 2 was interrupted", 3),
    "exits": ("", r"ended: rank 2 ended its program\n", 3),
    "aborts": (r"rank 2 of 4: enough\n", r"ended: rank 2 ended the job: enough\n", 3),
    "differs": (r"ended: rank 2 differs .* in its parameters", SAME, 3),
    "begins_differently": (r"ended: rank 2 differs .* in its parameters", SAME, 3),
    "has_other_shapes": (r"ended: rank 2 differs .* in the shapes or dtypes", SAME, 3),
    "samples_differ": (r"ended: rank 2 differs .* in its batch: another order", SAME, 3),
    "batches_differ": (r"ended: rank 2 differs .* in the size of its batch", SAME, 3),
    "shards_differ": (r"ended: rank 2 differs .* in the arguments of DataParallel", SAME, 3),
    "shapes_differ": (r"ended: ranks 2, 3 differ .* in the shapes or dtypes of their", OTHERS, 4),
    "levels_differ": (r"ended: rank 2 differs .* in the CPU level .*MINIDL_KERNELS=ref", SAME, 3),
    "data_differ": (r"ended: rank 2 differs .* in its data: other samples", SAME, 3),
    "validation_differs": (r"ended: rank 2 differs .* in the batches of its valid", SAME, 3),
    "caught": (r"rank \d raised Here", CAUGHT, 4),
    "waits_at_last": (r"rank 2 of 4:\nTraceback", r"ended: rank 2 raised Here", 3),
    "callback_waits": (r"rank 0 of 4:\nTraceback", r"ended: rank 0 raised RuntimeError: World", 3),
}


@ranks.needs_mpi
@pytest.mark.parametrize("kind", CASES)
def test_what_ends_one_ends_all(kind):
    once, by_others, count = CASES[kind]
    begun = time.monotonic()
    code, said = ranks.finished(ranks.start(4, "faulty", kind))
    assert code != 0 and time.monotonic() - begun < 10
    assert len(re.findall(once, said)) >= bool(once), said
    assert len(re.findall(by_others, said)) == count, said
    assert said.count("Traceback") == once.count("Traceback"), said
    assert ("rank 0 could tidy up" in said) == (kind == "raises")


@ranks.needs_mpi
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("hangs", "rank 2 did not answer within 2 s"),
        ("sleeps", "rank 2 did not answer within 2 s"),
        ("hangs_at_the_end", "rank 2 did not end its program within 2 s"),
    ],
)
def test_a_rank_that_does_not_answer_is_named(kind, text):
    begun = time.monotonic()
    code, said = ranks.finished(ranks.start(4, "faulty", kind, PATIENCE="2"))
    assert (
        code != 0 and time.monotonic() - begun < 12
    )  # the 2 s, to start, and 3 s for the last words
    assert text in said, said


@ranks.needs_mpi
def test_a_rank_that_hangs_at_the_very_end():
    begun = time.monotonic()
    code, said = ranks.finished(ranks.start(4, "faulty", "hangs_at_last", PATIENCE="2"))
    assert code != 0 and time.monotonic() - begun < 12, said


@ranks.needs_mpi
def test_a_rank_that_is_killed():
    begun = time.monotonic()
    code, _ = ranks.finished(ranks.start(4, "faulty", "is_killed"))
    assert code != 0 and time.monotonic() - begun < 10


def begun(*arguments, **more):
    """A job that is under way, and the processes of its ranks."""
    job, pids = ranks.start(4, "faulty", *arguments, **more), {}
    for line in job.stdout:
        if found := re.match(r"rank (\d) is (\d+)", line):
            pids[int(found[1])] = int(found[2])
        if line == "going\n":
            return job, pids
    raise AssertionError("it did not begin")


@ranks.needs_mpi
@pytest.mark.parametrize("rank", [0, 2, None])
def test_ctrl_c_ends_a_training_after_the_same_step_on_all_ranks(rank, tmp_path):
    job, pids = begun("fits", tmp_path)
    os.kill(job.pid if rank is None else pids[rank], signal.SIGINT)  # None: mpiexec passes it on
    code, said = ranks.finished(job)
    assert code == 0 and len(set(re.findall(r"interrupted=True, .*", said))) == 1, said
    assert said.count("interrupted=True") == 4
    assert md.load(tmp_path / "run.npz")["step"] >= 3


@ranks.needs_mpi
def test_ctrl_c_in_the_last_validation_is_told_to_all_ranks():
    said = ranks.run(4, "faulty", "last_validation")
    assert said.count("interrupted=True, 1 epochs") == 4, said


@ranks.needs_mpi
def test_ctrl_c_ends_a_loop():
    job, _ = begun("forever")
    os.kill(job.pid, signal.SIGINT)
    code, said = ranks.finished(job)
    assert code != 0 and "interrupted (Ctrl-C)" in said and "Traceback" not in said


@ranks.needs_mpi
def test_killed_while_training_and_resumed(tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    ranks.run(1, "faulty", "fits", alone, EPOCHS="4")
    job, pids = begun("fits", tmp_path, EPOCHS="4")
    os.kill(pids[1], signal.SIGKILL)
    assert ranks.finished(job)[0] != 0
    assert 2 <= md.load(tmp_path / "run.npz")["step"] < 16
    ranks.run(2, "faulty", "fits", tmp_path, EPOCHS="4")
    ours, expected = (md.load(folder / "run.npz")["model"] for folder in (tmp_path, alone))
    assert {k: v.tobytes() for k, v in ours.items()} == {
        k: v.tobytes() for k, v in expected.items()
    }


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("one\ntwo"), "raised ValueError: one"),
        (ValueError(), "raised ValueError"),
        (KeyboardInterrupt(), "was interrupted (Ctrl-C)"),
        (SystemExit(3), "ended its program"),
    ],
)
def test_what_the_others_are_told(error, text):
    assert said(error) == text
