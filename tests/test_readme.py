"""The README does what it says: its tour runs, its commands and links are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tour_runs(tmp_path, monkeypatch, capsys):
    (tour,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(tour.splitlines()) <= 22
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(compile(tour, "README.md", "exec"), scope)
    printed = capsys.readouterr().out
    assert "[ 3. 12. 27.] [ 6. 12. 18.]" in printed
    claimed = float(re.search(r"about (\d+)%", tour)[1])
    assert abs(scope["history"]["val_accuracy"][-1] * 100 - claimed) < 2
    loaded = scope["md"].load("digits.npz")
    assert not scope["model"].load_state_dict(loaded).missing_keys


def test_links_and_pictures_are_there():
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(targets) > 6
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_commands_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert commands == ["demo", "test"]
    for command in commands:
        assert re.search(rf"^{command}:", makefile, re.MULTILINE), command


def test_names_in_the_table_exist():
    import minidl as md

    table = README[README.index("## What is there") : README.index("GPUs are not planned")]
    for dotted in re.findall(r"`md\.(\w+)", table):
        assert hasattr(md, dotted), dotted
    for name in re.findall(r"`([A-Z]\w+)`", table):
        assert any(hasattr(space, name) for space in (md.nn, md.data)), name


def test_the_page_of_settings_has_every_variable():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    sources = [
        *(ROOT / "minidl").rglob("*.py"),
        *(ROOT / "minidl").rglob("*.pyx"),
        ROOT / "setup.py",
    ]
    read = {
        name
        for path in sources
        for name in re.findall(r"(?:environ|asked)\W.*?\"(MINIDL_\w+)\"", path.read_text("utf-8"))
    }
    assert set(re.findall(r"^\| `(MINIDL_\w+)`", page, re.MULTILINE)) == read


def test_its_speeds_are_those_of_the_benchmark():
    report = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")

    def ratios(row: str) -> list[float]:
        return [
            float(found) for found in re.findall(rf"^\| {row} \| ([\d.]+)x", report, re.MULTILINE)
        ]

    best = r"captured \| the best peer"
    mlps, dcgans = ratios(r"MLP .* \| PyTorch default"), ratios(r"DCGAN .* \| PyTorch default")
    lenet, tiny = ratios(f"LeNet-5.*, {best}"), ratios(rf"(?:24-8-2|4-32-16-4) .*, {best}")
    assert (len(mlps), len(dcgans), len(lenet), len(tiny)) == (3, 2, 1, 3)
    for page in (README, (ROOT / "docs" / "results.md").read_text(encoding="utf-8")):
        text = " ".join(page.split())
        assert f"three MLPs took PyTorch {min(mlps):.1f} to {max(mlps):.1f} times" in text
        assert re.search(
            rf"{dcgans[0]:.1f} times (as long )?\(1x32x32\) and {dcgans[1]:.1f} times", text
        )
    text = " ".join(README.split())
    assert f"LeNet-5 took the fastest of the others {lenet[0]:.1f} times" in text
    assert f"some hundred weights {min(tiny):.1f} to {max(tiny):.1f} times" in text
