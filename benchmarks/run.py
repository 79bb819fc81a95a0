"""Measures minidl, PyTorch, JAX, TensorFlow, NNabla and NumPy by hand, and writes RESULTS.md.

    python benchmarks/run.py                                  everything (README.md says how long)
    python benchmarks/run.py --only mlp gemm --peers torch    some sections and peers
    python benchmarks/run.py --quick                          one short round of small cases, elsewhere

Each section writes one file of raw figures under results/; the report is made from all of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import compiler
import report
from dcgans import DCGANS, dcgan_case
from environments import PEERS, ROOT, Unavailable, freeze, prepare
from mlps import MLPS, mlp_case
from probe import Probe
from processes import SETTINGS, WorkerFailed, WorkerProcess, two_cpus
from results import Case
from rounds import ATTEMPTS, measure_case
from startup import MODULES, measure_memory, measure_startup
from workloads import SECTIONS, Context

MEMORY_STEPS = 20  # after which the peak of memory is read


def log(text: str) -> None:
    print(f"{datetime.datetime.now():%H:%M:%S} {text}", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names, peers, envs = [*SECTIONS, *PROCESSES], list(PEERS), ROOT / ".bench"
    add("--only", nargs="+", choices=names, default=names, metavar="SECTION", help=", ".join(names))
    add("--peers", nargs="+", choices=peers, default=peers, metavar="PEER", help=", ".join(peers))
    add("--rounds", type=int, default=5, help="rounds of each case (default 5)")
    add("--seconds", type=float, help="length of one measurement (default: by section)")
    add("--cases", default="", help="only cases whose name contains this text")
    add("--quick", action="store_true", help="one short round of small cases, no repeats")
    add("--keep-environments", action="store_true", help="build nothing: measure what is installed")
    add(
        "--envs",
        type=Path,
        default=os.environ.get("MINIDL_BENCH_ENVS", envs),
        help="where the environments are (default: $MINIDL_BENCH_ENVS, or .bench)",
    )
    add("--out", type=Path, help="where results go (default: benchmarks/; a part: below --envs)")
    options = parser.parse_args()
    options.envs = Path(options.envs).resolve()
    if options.out is None:  # part of the figures must not replace all
        part = "quick" if options.quick else "part" if options.cases else ""
        options.out = options.envs / part if part else ROOT / "benchmarks"
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def main() -> None:
    options = parse()
    os.sched_setaffinity(0, two_cpus())  # this process, the probe's threads, and every worker
    options.envs.mkdir(parents=True, exist_ok=True)
    (options.out / "results").mkdir(parents=True, exist_ok=True)
    wanted = {"minidl", *options.peers}
    missing = make_environments(options, [peer for peer in PEERS if peer in wanted])
    if "minidl" in missing:
        sys.exit(f"minidl itself cannot be built: {missing['minidl']}")
    probe = Probe()
    for name in options.only:
        measure_section(name, options, wanted, missing, probe)
    report.write(options.out)
    log(f"{options.out / 'RESULTS.md'} is written")


def make_environments(options: argparse.Namespace, peers: list[str]) -> dict[str, str]:
    """Creates those that do not exist yet. Returns the reason for each peer that is unavailable."""
    reasons: dict[str, str] = {}
    for environment in dict.fromkeys(PEERS[peer].environment for peer in peers):
        try:
            prepare(options.envs, environment, log, keep=options.keep_environments)
        except Unavailable as reason:
            reasons[environment] = str(reason)
            log(f"{environment}: not measured: {reason}")
    return {
        peer: reasons[PEERS[peer].environment]
        for peer in peers
        if PEERS[peer].environment in reasons
    }


def measure_section(
    name: str, options: argparse.Namespace, wanted: set[str], missing: dict[str, str], probe: Probe
) -> None:
    began = time.time()
    members = PROCESSES[name][0] if name in PROCESSES else SECTIONS[name].peers
    peers = [peer for peer in members if peer in wanted and peer not in missing]
    log(f"{name}: {', '.join(peers)}")
    inputs = options.envs / "inputs"
    inputs.mkdir(exist_ok=True)
    rounds = 1 if options.quick else options.rounds
    environments = sorted({PEERS[peer].environment for peer in peers})
    result = {
        "section": name,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "quick": options.quick,
        "rounds": rounds,
        "machine": machine(),
        "commit": commit(),
        "missing": {peer: reason for peer, reason in missing.items() if peer in members},
        "versions": {env: freeze(options.envs, env) for env in environments},
    }
    if name in PROCESSES:
        _, make_case, measure = PROCESSES[name]
        case = make_case(Context(inputs, [], options.quick))
        result["peers"] = measure(options.envs, peers, case, rounds, log)
    else:
        workers = {peer: WorkerProcess(options.envs, peer) for peer in peers}
        try:
            measure_cases(name, options, result, workers, probe, Context(inputs, [], options.quick))
        finally:
            for worker in workers.values():
                worker.end()
    result["fma_peak_gflops"] = {"one": probe.one, "two": probe.two}
    result["probe"] = probe.kind
    result["copy_gb_s"] = max(probe.copy_bandwidth() for _ in range(1 if options.quick else 5))
    result["minutes"] = (time.time() - began) / 60
    text = dump(result).replace(f"{options.envs}/", "")  # no path of this machine
    (options.out / "results" / f"{name}.json").write_text(text)


def dump(result: dict) -> str:
    """JSON with five digits of each figure and one line per case: small, with readable diffs."""

    def short(value):
        if isinstance(value, float):
            return float(f"{value:.5g}")
        if isinstance(value, dict):
            return {key: short(v) for key, v in value.items()}
        return [short(v) for v in value] if isinstance(value, list | tuple) else value

    cases = ",\n  ".join(json.dumps(short(case)) for case in result.get("cases", []))
    facts = {key: value for key, value in result.items() if key != "cases"}
    text = json.dumps(short(facts), indent=1)
    return f'{text[:-2]},\n "cases": [\n  {cases}\n ]\n}}\n'


def _first_mlp(context: Context) -> dict:
    name, (widths, batch) = next(iter(MLPS.items()))
    return mlp_case(context.inputs, name, widths, batch)


def _first_dcgan(context: Context) -> dict:
    return dcgan_case(context.inputs, next(iter(DCGANS)), MEMORY_STEPS)


# Sections that start their own processes: the peers, their case, and the function that measures.
PROCESSES = {
    "startup": (tuple(MODULES), _first_mlp, measure_startup),
    "memory": (SECTIONS["dcgan"].peers, _first_dcgan, measure_memory),
}


def measure_cases(
    name: str,
    options: argparse.Namespace,
    result: dict,
    workers: dict[str, WorkerProcess],
    probe: Probe,
    context: Context,
) -> None:
    """Fills result["cases"]; a worker that does not start goes to result["missing"]."""
    for peer, worker in list(workers.items()):
        try:
            worker.ask({"do": "hello"})
        except WorkerFailed as failure:
            result["missing"][peer] = str(failure)
            log(f"  {peer}: not measured: {failure}")
            workers.pop(peer).end()
    if "minidl" not in workers:
        sys.exit(f"minidl's worker does not start: {result['missing']['minidl']}")
    names = workers["minidl"].ask({"do": "names"})
    result["config"] = names["config"]
    section = SECTIONS[name]
    context = Context(context.inputs, names["activations"], context.quick)
    seconds = options.seconds or (0.05 if options.quick else section.seconds)
    result.update(seconds=seconds, cases=[])
    for case in section.cases(context):
        if options.cases not in case["name"]:
            continue
        attempts = 1 if options.quick else ATTEMPTS
        measured = measure_case(case, workers, probe, result["rounds"], seconds, attempts, log)
        result["cases"].append({**case, **measured})
        for peer, worker in workers.items():
            if not worker.alive():  # a fresh process for the next case
                worker.end()
                workers[peer] = WorkerProcess(options.envs, peer)
        log("  " + summary(case, measured))


def summary(case: dict, measured: dict) -> str:
    """One line per case: minidl's time, and the ratios."""
    rows = Case({**case, **measured})
    return f"{case['name']}: " + ", ".join(rows.brief(peer) for peer in rows.peers)


def machine() -> dict[str, str]:
    facts = {
        line.split(":")[0].strip(): line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if ":" in line
    }
    memory = Path("/proc/meminfo").read_text().split()[1]
    model = facts.get("model name", platform.processor())
    return {
        "cpu": f"{model} (family {facts.get('cpu family')}, model {facts.get('model')})",
        "cpus": f"{os.cpu_count()} ({', '.join(map(str, two_cpus()))} used)",
        "memory": f"{int(memory) / 1e6:.0f} GB",
        "system": platform.platform(),
        "compiler": compiler.version(),
        "threads": ", ".join(f"{k}={v}" for k, v in SETTINGS.items() if v == "2"),
    }


def commit() -> str:
    """The commit of this checkout, with "+" if files differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "minidl"], capture_output=True, text=True
    )
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


if __name__ == "__main__":
    main()
