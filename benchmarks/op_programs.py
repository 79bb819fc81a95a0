"""The programs of the section `ops` (workers/programs.py says what they compute)."""

PROGRAMS = (
    "PINN",
    "LSTM by hand",
    "GRU by hand",
    "tanh(x * x + x)",
    "products of 8 x 8",
    "CNN, one image",
    "CNN, one image, training",
)
CASES = [{"kind": "program", "name": f"program: {name}", "program": name} for name in PROGRAMS]
