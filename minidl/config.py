"""What this installation is: version, CPU level, settings."""

from __future__ import annotations

import platform

import numpy as np

from minidl import _kernels as K
from minidl._source import COST, PURE

__version__ = "0.1.0"


def _blas() -> str:
    """The library behind NumPy's matrix products, by NumPy's own account."""
    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{blas['name']} {blas['version']}"
    except (TypeError, KeyError):
        return "unknown"


def show_config() -> None:
    """Prints the version, the CPU level of the kernels (or that nothing is compiled, and what that costs), their
    settings, and the libraries found: a line each, for a report of a fault.

    The settings come from environment variables; docs/settings.md lists them. Nothing is returned.
    """
    from importlib.util import find_spec  # here, as it is slow to import

    optional = ("matplotlib", "tqdm", "safetensors", "PIL", "onnx", "sklearn", "tensorboardX")
    found = [name for name in optional if find_spec(name)]
    print(f"minidl    {__version__} on Python {platform.python_version()}, {platform.platform()}")
    if PURE:
        print(f"kernels   NumPy; nothing is compiled, not the engine either: {COST}")
    else:
        print(f"kernels   {K.active} (this machine runs: {', '.join(K.available)})")
    print(f"winograd  {'on' if K.winograd and K.active != 'reference' else 'off'}")
    print(f"threads   {K.get_num_threads()}{' (BLAS may have its own)' if PURE else ''}")
    print(f"numpy     {np.__version__}, BLAS: {_blas()}")
    print(f"optional  {', '.join(found) or 'none'} (of {', '.join(optional)})")
