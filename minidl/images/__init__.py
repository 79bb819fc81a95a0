"""Pictures in files: reading them, writing them, and many of them side by side.

A picture is an array of bytes, (H, W) grey or (H, W, 3) in colour; a batch is what networks work on,
(N, C, H, W) or (N, H, W), with values in some range.
"""

from typing import TYPE_CHECKING, Any

from minidl.images.files import read, write
from minidl.images.grid import make_grid, save_image
from minidl.porting import missing as _missing

__all__ = ["make_grid", "read", "save_image", "write"]


if not TYPE_CHECKING:  # (a type checker knows what is there)

    def __getattr__(name: str) -> Any:
        raise _missing("images", name, globals())
