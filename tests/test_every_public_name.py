"""Every public name, called with every argument wrong in turn: the error names what was called, in its own words."""

import inspect
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, init, nn, optim
from minidl import functional as F

from .test_structure import PUBLIC

WRONG = ["3", None, object(), np.array([1j, 2j]), 2.5, [], -(2**70), [[1.0], [1.0, 2.0]]]
FORBIDDEN = re.compile(
    "not supported between|ufunc|only integer scalar|object has no attribute|has no len|"
    "cannot be interpreted as an integer|unsupported operand|not iterable|must be real number|"
    "inhomogeneous|too large to convert|integer is required|not callable|unhashable|not subscriptable|"
    "truth value|can't multiply|cannot unpack|convert int|Cannot convert|"
    "only 0-dimensional|could not convert|could be cast|index integer|out of bounds"
)
APT = (TypeError, ValueError, IndexError, RuntimeError, OSError)


def x(*shape):
    return np.linspace(0.1, 0.9, int(np.prod(shape)), dtype="float32").reshape(shape)


def leaf(*shape):
    return Tensor(x(*shape), requires_grad=True)


def loader():
    return [(x(2, 2), np.zeros(2, int))]


def sgd(model=None):
    return optim.SGD((model or nn.Affine(2, 2)).parameters(), 0.1)


def model_and_step():
    model = nn.Affine(2, 2)
    return model, loader(), "cross_entropy", sgd(model), 1, None, (), (), False


def output_and_leaf():
    w = leaf(2)
    return (w * w).sum(), w, None, False, None, False


def csv_file():
    path = Path(tempfile.mkdtemp(), "table.csv")
    path.write_text("x,y\n1,2\n")
    return path


def image_folder():
    root = Path(tempfile.mkdtemp())
    (root / "cat").mkdir()
    md.images.write(np.zeros((2, 2), np.uint8), root / "cat" / "1.png")
    return root


IMAGE, KERNEL, IDS = x(2, 4, 5, 5), x(4, 4, 3, 3), np.array([0, 1])
LAYER = (True, None, 1.0, None)  # bias, weight, lr_mult, scope
NORM = (x(3), x(3))

# A valid call of each: its positional arguments, as a tuple or made afresh by a function.
VALID = {
    **{
        f"md.{name}": (x(2, 3), 0, False)
        for name in ("argmax", "argmin", "logsumexp", "max", "mean", "min", "prod", "sum")
    },
    **{f"md.{name}": (x(2, 3), 0, False, 0) for name in ("var", "std")},
    "md.Tensor": (x(2), False, "float32"),
    "md.arange": (0, 3, 1, "float32", False),
    "md.argsort": (x(3), 0),
    "md.astype": (x(2), "float64"),
    "md.broadcast_to": (x(3), (2, 3)),
    "md.clip": (x(3), 0.0, 1.0),
    "md.concatenate": ([x(3), x(3)], 0),
    "md.cumsum": (x(3), 0),
    "md.distributed.DataParallel": lambda: (
        layer := nn.Affine(2, 2),
        sgd(layer),
        8,
        True,
        100,
        1.0,
        False,
    ),
    "md.distributed.world": (300.0,),
    "md.draw": lambda: ((leaf(2) * leaf(2)).sum(), None, None, None),
    "md.callbacks.Checkpoint": ("run.npz", 1, False),
    "md.callbacks.EarlyStopping": ("loss", 2, True, "min", 0.0),
    "md.callbacks.every_batch": (print,),
    "md.callbacks.every_epoch": (print, "loss"),
    "md.confusion_matrix": (np.array([0, 1]), np.array([1, 0]), 2, -100),
    "md.einsum": ("i,i->", x(3), x(3)),
    "md.evaluate": lambda: (nn.Affine(2, 2), loader(), None, ()),
    "md.expand_dims": (x(3), 0),
    "md.fit": model_and_step,
    "md.flatten": (x(2, 3), 0),
    "md.flip": (x(2, 3), 0),
    "md.full": ((2, 3), 0.5, "float32", False),
    "md.grad": output_and_leaf,
    **{f"md.{name}": (x(3) > 0, x(3) > 0) for name in ("logical_and", "logical_or")},
    "md.logical_not": (x(3) > 0,),
    "md.manual_seed": (1,),
    "md.matmul": (x(3), x(3)),
    "md.norm": (x(2, 3), 2, 0, False),
    "md.ones": (2, 3),
    "md.pad": (x(3), 1, 0.0, "constant"),
    "md.randn": (2, 3),
    "md.repeat": (x(3), 2, 0),
    "md.reshape": (x(6), 2, 3),
    "md.roll": (x(3), 1, 0),
    "md.set_memory_limit": (2**30,),
    "md.set_num_threads": (1,),
    "md.sort": (x(3), 0),
    "md.split": (x(4), 2, 0),
    "md.squeeze": (x(1, 3), 0),
    "md.stack": ([x(3), x(3)], 0),
    "md.profile": (None,),
    "md.summary": lambda: (nn.Affine(2, 2), (3, 2), None),
    "md.tile": (x(3), 2),
    "md.tril": (x(2, 3), 0),
    "md.triu": (x(2, 3), 0),
    "md.unstack": (x(2, 3), 0),
    "md.zeros": (2, 3),
    "md.transpose": (x(2, 3), 1, 0),
    "md.where": (x(3) > 0, x(3), x(3)),
    "F.affine": (x(2, 3), x(4, 3), x(4), None),
    "F.adaptive_avg_pool": (IMAGE, 2),
    "F.adaptive_max_pool": (IMAGE, 2),
    "F.gru": (x(3, 2, 4), x(2, 5), x(15, 4), x(15, 5), x(15), x(15), False),
    "F.lstm": (x(3, 2, 4), (x(2, 5), x(2, 5)), x(20, 4), x(20, 5), x(20), x(20), False),
    "F.rnn": (x(3, 2, 4), x(2, 5), x(5, 4), x(5, 5), x(5), x(5), "tanh", False),
    "F.scaled_dot_product_attention": (x(2, 4), x(3, 4), x(3, 5), x(2, 3), False, 0.1, 0),
    "F.bilinear": (x(2, 3), x(2, 4), x(5, 3, 4), x(5)),
    "F.dropout2d": (IMAGE, 0.5, True, 0),
    "F.pixel_unshuffle": (x(1, 1, 4, 4), 2),
    "F.avg_pool": (IMAGE, 2, 1, 0),
    "F.max_pool": (IMAGE, 2, 1, 0),
    "F.batch_norm": lambda: (x(2, 3), x(3), x(3), x(3), x(3), True, 0.1, 1e-5, None),
    "F.conv": (IMAGE, KERNEL, x(4), 1, 0, 1, 1, None),
    "F.conv_transpose": (IMAGE, KERNEL, x(4), 1, 0, 0, 1, 1, None),
    "F.crelu": (x(2, 4), 1),
    "F.glu": (x(2, 4), 1),
    "F.binary_cross_entropy": (x(2, 3), x(2, 3), "mean", x(3)),
    "F.binary_cross_entropy_with_logits": (x(2, 3), x(2, 3), "mean", x(3), x(2, 1)),
    "F.cosine_embedding_loss": (x(2, 3), x(2, 3), np.array([1, -1]), 0.0, "mean"),
    "F.cross_entropy": (x(2, 3), IDS, "mean", x(3), -100, 0.1),
    "F.hinge_loss": (x(2), np.array([1, -1]), "mean", 1.0),
    "F.nll_loss": (x(2, 3), IDS, "mean", x(3), -100),
    "F.dropout": (x(3), 0.5, True, 0),
    "F.embedding": (IDS, x(3, 2)),
    "F.group_norm": (x(2, 3, 4), 3, *NORM, 1e-5),
    "F.instance_norm": (x(2, 3, 4), *NORM, 1e-5),
    "F.layer_norm": (x(2, 3), 3, *NORM, 1e-5),
    "F.softmax": (x(2, 3), 1),
    "F.log_softmax": (x(2, 3), 1),
    "F.maxout": (x(2, 4), 2, 1),
    "F.one_hot": (IDS, 3, "float32"),
    "F.pixel_shuffle": (IMAGE, 2),
    "F.prelu": (x(2, 3), x(3), 1, False),
    "F.rrelu": (x(2, 3), 0.1, 0.3, True, 0, False),
    "F.upsample": (IMAGE, 2, "bilinear"),
    "F.threshold": (x(3), 0.5, 0.1, False),
    "nn.Affine": (2, 2, *LAYER, None),
    "nn.Conv": (2, 2, 3, 1, 0, 1, 1, *LAYER, None, "zeros"),
    "nn.ConvTranspose": (2, 2, 3, 1, 0, 0, 1, True, 1, None, 1.0, None),
    "nn.AvgPool": (2, 1, 0),
    "nn.MaxPool": (2, 1, 0),
    "nn.BatchNorm": (2, 1e-5, 0.1, True, True, *LAYER),
    "nn.GroupNorm": (2, 2, 1e-5, True, *LAYER),
    "nn.InstanceNorm": (2, 1e-5, True, *LAYER),
    "nn.LayerNorm": (2, 1e-5, True, *LAYER),
    "nn.Embedding": (2, 2, None, 1.0, None),
    "nn.Maxout": (2, 2, 2, *LAYER),
    "nn.ModuleList": lambda: ([nn.ReLU()],),
    "nn.BCELoss": (x(3), "mean"),
    "nn.BCEWithLogitsLoss": (x(3), "mean", x(3)),
    "nn.CrossEntropyLoss": (x(3), -100, "mean", 0.1),
    "nn.ModuleDict": lambda: ({"act": nn.ReLU()},),
    "nn.NLLLoss": (x(3), -100, "mean"),
    "nn.Sequential": lambda: (nn.ReLU(), nn.ReLU()),
    "nn.Parameter": (x(2), 1.0, True, None),
    "nn.ParameterMaker": ("Affine", ["weight"], 1.0, None),
    "nn.PReLU": (2, 0, False, init.Constant(0.25), 1.0, None),
    "nn.Reshape": (2, 3),
    "nn.PixelShuffle": (2,),
    "nn.Upsample": (2, "bilinear"),
    "nn.AdaptiveAvgPool": (2,),
    "nn.AdaptiveMaxPool": (2,),
    "nn.GRU": (3, 4, 1, True, False, 0.0, False, None, 1.0, None, 0),
    "nn.LSTM": (3, 4, 1, True, False, 0.0, False, None, 1.0, None, 0),
    "nn.RNN": (3, 4, 1, "tanh", True, False, 0.0, False, None, 1.0, None, 0),
    "nn.MultiheadAttention": (4, 2, 0.0, True, 4, 4, False, None, 1.0, 0),
    "nn.Bilinear": (2, 2, 2, *LAYER),
    "nn.PixelUnshuffle": (2,),
    "nn.remove_parametrization": lambda: (nn.weight_norm(nn.Affine(2, 2)), "weight"),
    "nn.spectral_norm": lambda: (nn.Affine(2, 2), "weight", 1, 1e-12, 0),
    "nn.weight_norm": lambda: (nn.Affine(2, 2), "weight", 0),
    "nn.Threshold": (0.5, 0.1, False),
    "optim.CosineLR": lambda: (sgd(), 3, 0.0),
    "optim.CosineRestartsLR": lambda: (sgd(), 3, 2, 0.0),
    "optim.EMA": lambda: (nn.Affine(2, 2), 0.9),
    "optim.LambdaLR": lambda: (sgd(), abs),
    "optim.OneCycleLR": lambda: (
        sgd(),
        0.1,
        9,
        0.3,
        "cos",
        True,
        0.85,
        0.95,
        25.0,
        1e4,
        False,
    ),
    "optim.ReduceLROnPlateau": lambda: (sgd(), "min", 0.1, 10, 1e-4, "rel", 0, 0.0, 1e-8),
    "optim.ExponentialLR": lambda: (sgd(), 0.9),
    "optim.MultiStepLR": lambda: (sgd(), [1, 2], 0.1),
    "optim.StepLR": lambda: (sgd(), 1, 0.1),
    "optim.WarmupLR": lambda: (sgd(), 1, None),
    "optim.clip_grad_norm": lambda: ([leaf(2)], 1.0),
    "optim.clip_grad_value": lambda: ([leaf(2)], 1.0),
    "init.Constant": (1.0, 1.0),
    "init.fans": ("weight", (2, 3)),
    "data.DataLoader": lambda: (md.data.TensorDataset(x(4, 2)), 2, False, False, 0, None, 0, None),
    "data.WeightedSampler": ([1.0, 2.0], 3, True),
    "data.read_csv": lambda: (csv_file(), "y", None, ","),
    "data.ImageFolder": lambda: (image_folder(), None, 2),
    **{f"data.transforms.{name}": (3,) for name in ("CenterCrop", "Grayscale")},
    "data.transforms.Compose": ([np.negative],),
    "data.transforms.Lambda": (np.negative,),
    "data.transforms.Normalize": (0.5, 0.5),
    "data.transforms.Pad": (1, 0),
    "data.transforms.RandomCrop": (2, 1),
    "data.transforms.RandomHorizontalFlip": (0.5,),
    "data.transforms.Resize": (2, "box"),
    "md.images.make_grid": (x(2, 3, 2, 2), 8, 2, (0, 1), 0),
    "data.Subset": lambda: (md.data.TensorDataset(x(4, 2)), np.array([0, 1])),
    "data.TensorDataset": (x(4, 2), x(4)),
    "data.split": lambda: (md.data.TensorDataset(x(4, 2)), [0.5, 0.5], 0, True),
    "md.testing.check_grads": (F.tanh, [x(2)], 1, 1e-6, 1e-5, 1e-7, 0),
    "md.monitor.DeadUnits": (x(2, 2), None, 0.0, 1),
    "md.monitor.GradientNorms": ("layer", None),
    "md.monitor.Saturation": (x(2, 2), None, 0.01, 10),
}
# What is no function of arguments that could be wrong, or is tested elsewhere.
APART = {
    "md.Op": "a base class; tests/autograd/test_own_ops.py",
    "optim.Optimizer": "a base class",
    "optim.Schedule": "a base class",
    "nn.Identity": "takes anything, by contract",
    "md.save": "writes files; tests/test_wrong_types.py",
    "md.export_onnx": "writes files; tests/onnx/test_errors.py",
    "md.import_onnx": "tests/onnx/test_errors.py",
    "md.load": "tests/io/test_untrusted_files.py",
    "data.read_idx": "tests/io/test_untrusted_files.py",
    "data.Table": "made by read_csv",
    "data.transforms.Transform": "a base class",
    "md.callbacks.TensorBoard": "needs tensorboardX; tests/callbacks/test_callbacks.py",
    "md.distributed.World": "made by world()",
    "md.distributed.RankError": "raised, not called",
    "md.images.read": "tests/images/test_files.py",
    "md.images.write": "writes files; tests/images/test_files.py",
    "md.images.save_image": "writes files; tests/images/test_grid.py",
    "data.cifar10": "would look for files",
    "data.mnist": "would look for files",
    "data.fashion_mnist": "would look for files",
}
# Names that a module only uses are public where they come from.
APART |= {
    name: "from elsewhere"
    for name, thing in PUBLIC.items()
    if name.startswith(("md.testing.", "md.monitor."))
    and thing.__module__ not in ("minidl.testing", "minidl.monitor")
}


REQUIRED = {"params": lambda: [leaf(2)], "lr": lambda: 0.1}  # any other is an array


def defaults(name):
    """The arguments of a call without a row: what is required, and what the others are when left out."""
    return tuple(
        REQUIRED.get(p.name, lambda: x(2, 3))() if p.default is p.empty else p.default
        for p in inspect.signature(PUBLIC[name]).parameters.values()
    )


def valid(name):
    row = VALID.get(name, defaults)
    if row is defaults:
        return defaults(name)
    return row() if callable(row) else row


# What an error calls it: the class that a name makes, or what it was told that it works for.
ALSO = {
    "F.log_softmax": "LogSoftmax",
    "data.DataLoader": "TensorDataset",
    "data.split": "TensorDataset",
    "init.fans": "weight",
    "md.grad": "backward",
    "nn.ParameterMaker": "Affine",
}
# (function, argument, the wrong value's type): why what is raised may be Python's own.
EXCEPTIONS = {
    ("md.testing.check_grads", "inputs", "list"): "fn is called with other arguments than it has",
    ("md.testing.check_grads", "eps", "float"): "AssertionError: the differences are coarse",
}


def argument(name, i):
    """The name of the i-th argument, if Python tells it."""
    try:
        names = list(inspect.signature(PUBLIC[name]).parameters)
    except ValueError:
        return str(i)
    return names[min(i, len(names) - 1)]


def complaint(name, i, wrong):
    """What is wrong with the error of a call whose i-th argument is wrong; None if it is as it should be, or taken."""
    args = list(valid(name))
    args[i] = wrong
    try:
        PUBLIC[name](*args)
    except APT as error:
        text = str(error)
        if type(error).__module__ != "builtins" or FORBIDDEN.search(text):
            return f"raw {type(error).__name__}: {text}"
        names = f"{name.rpartition('.')[2]}|Tensor|{ALSO.get(name, 'Tensor')}"
        return None if re.search(rf"\b({names})\b", text, re.IGNORECASE) else f"nameless: {text}"
    except Exception as error:
        return f"unfit {type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("name", [name for name in PUBLIC if name not in APART])
def test_errors_name_what_was_called(name, capsys):
    threads, limit = md.get_num_threads(), md.memory_stats()["limit"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            PUBLIC[name](*valid(name))
            complaints = [
                f"{argument(name, i)}={wrong!r}: {said}"
                for i in range(len(valid(name)))
                for wrong in WRONG
                if (name, argument(name, i), type(wrong).__name__) not in EXCEPTIONS
                and (said := complaint(name, i, wrong))
            ]
    finally:
        md.set_num_threads(threads)
        md.set_memory_limit(limit)
    assert not complaints, "\n".join(complaints)


def test_the_tables_name_what_there_is():
    assert set(VALID) | set(APART) | set(ALSO) <= set(PUBLIC)
    assert not set(VALID) & set(APART)
