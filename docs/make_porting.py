"""Writes docs/porting/names.md from the table in minidl/porting.py: ``python docs/make_porting.py``."""

from pathlib import Path

from minidl.porting import NAMES

PAGE = Path(__file__).parent / "porting" / "names.md"
TITLES = {
    "md": "Functions: `md.` (PyTorch's `torch.`, TensorFlow's `tf.`)",
    "nn": "Layers: `nn.`",
    "functional": "Functions of layers: `F.`",
    "optim": "Optimizers: `optim.`",
    "data": "Data: `data.`",
    "transforms": "Transforms of images: `transforms.` (`minidl.data.transforms`)",
    "images": "Pictures: `images.`",
    "init": "Initializers: `init.`",
    "Tensor": "Methods and attributes of a tensor `x`",
    "Module": "Methods of a module `model`",
}
HEAD = """# Names from other frameworks

minidl's names for what PyTorch, Keras and Chainer call something else. Using one of their functions or layers raises
an error that says the same as this page: `nn.Linear` raises
`module 'minidl.nn' has no attribute 'Linear'; here it is nn.Affine(in_features, out_features)`.
(This page is written by `python docs/make_porting.py` from the table that the errors use.)

Some names are the same, but follow NumPy where PyTorch does not:

- `x.transpose(0, 2, 1)` lists all axes in their new order. PyTorch's `transpose(0, 1)` swaps two.
- `x.size` is the number of elements, and `x.shape` the lengths. PyTorch's `x.size()` is the shape.
- `std` and `var` divide by n. PyTorch divides by n - 1: `x.std(ddof=1)`.
- `x.max(axis)` gives the greatest elements. PyTorch's `max(dim)` also returns their indices: `x.argmax(axis)`.
- `x.sort(axis)` gives the values in order. PyTorch's also returns the indices: `x.argsort(axis)`.
- `x.repeat(n, axis)` repeats each element. PyTorch's `repeat` repeats x as a whole: `md.tile(x, reps)`.
- `axis` and `keepdims` are PyTorch's `dim` and `keepdim`.
"""


def page() -> str:
    parts = [HEAD]
    for place, title in TITLES.items():
        parts.append(f"\n## {title}\n\n| there | here |\n|---|---|")
        for names, here in NAMES[place].items():
            there = ", ".join(f"`{name}`" for name in names.split())
            parts.append(f"| {there} | {here.removeprefix('nothing: ')} |")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
