"""Convolutions, pooling and resizing of wrong shapes and settings: the error names the axis or the setting."""

import numpy as np
import pytest

from minidl import functional as F

X = np.ones((2, 3), "float32")
IMAGE, KERNEL = np.ones((2, 4, 6, 5), "float32"), np.ones((4, 4, 3, 3), "float32")
CASES = [
    (lambda: F.conv(X, KERNEL), ValueError, r"conv: expected x .* got shape \(2, 3\)"),
    (
        lambda: F.conv(IMAGE, KERNEL[0]),
        ValueError,
        r"conv: x and weight: expected as many spatial axes .*\(4, 3, 3\)",
    ),
    (
        lambda: F.conv(IMAGE[:, :3], KERNEL),
        ValueError,
        r"conv: axis 1 of x: expected 4 channels .* got shape \(2, 3, 6, 5\)",
    ),
    (
        lambda: F.conv(IMAGE, KERNEL, groups=3),
        ValueError,
        "conv: groups=3 does not divide the 4 channels of x",
    ),
    (
        lambda: F.conv(IMAGE, KERNEL[:3, :2], groups=2),
        ValueError,
        "conv: groups=2 does not divide the 3 outputs of weight",
    ),
    (
        lambda: F.conv(IMAGE, KERNEL, dilation=(1, 4), padding=(0, 1)),
        ValueError,
        r"conv: axis 3 of x: the kernel spans 9 \(length 3, dilation 4\), more than the padded "
        "input, 7",
    ),
    (
        lambda: F.conv(IMAGE, KERNEL[:, :, :0]),
        ValueError,
        r"conv: weight: axis 2 is empty, got shape \(4, 4, 0, 3\)",
    ),
    (
        lambda: F.conv(IMAGE, KERNEL, np.ones(3)),
        ValueError,
        r"conv: bias: expected shape \(4,\), got \(3,\)",
    ),
    (lambda: F.conv(IMAGE, KERNEL, stride=0), ValueError, "conv: stride must be an integer >= 1"),
    (
        lambda: F.conv(IMAGE, KERNEL, padding=-1),
        ValueError,
        "conv: padding must be .* >= 0, got -1",
    ),
    (lambda: F.conv(IMAGE, KERNEL, padding=0.5), TypeError, "conv: padding must be an integer"),
    (lambda: F.conv(IMAGE, KERNEL, groups=0), ValueError, "conv: groups must be an integer >= 1"),
    *[
        (
            lambda function=function, setting=setting, value=value: function(
                IMAGE, KERNEL, **{setting: value}
            ),
            ValueError,
            f"{function.__name__}: {setting} must be an integer <= 2147483647, got {value}",
        )
        for function in (F.conv, F.conv_transpose)
        for setting in ("stride", "padding", "dilation")
        for value in (2**31, 2**63 - 1, 2**70)
    ],
    (
        lambda: F.conv_transpose(IMAGE, KERNEL, stride=2**31 - 1, output_padding=2**31 - 2),
        ValueError,
        "conv_transpose: a result of shape .* is too large for an array",
    ),
    (
        lambda: F.max_pool(IMAGE, 2**31),
        ValueError,
        "max_pool: kernel_size must be .* <= 2147483647",
    ),
    (
        lambda: F.avg_pool(IMAGE, 1, stride=2**70),
        ValueError,
        "avg_pool: stride must be .* <= 2147483647",
    ),
    (lambda: F.upsample(IMAGE, 2**31), ValueError, "upsample: scale must be .* <= 2147483647"),
    (lambda: F.upsample(IMAGE, 2**30), ValueError, "upsample: a result of shape .* is too large"),
    (lambda: F.pixel_shuffle(IMAGE, 2**70), ValueError, "pixel_shuffle: factor must be .* <= 2"),
    (
        lambda: F.conv(IMAGE, KERNEL, stride=(1, 2, 3)),
        ValueError,
        r"conv: stride: expected one int or 2, .* got \(1, 2, 3\)",
    ),
    (lambda: F.conv(IMAGE, KERNEL, activation="sin"), ValueError, "conv: activation: .* 'sin'"),
    (
        lambda: F.conv_transpose(X, KERNEL),
        ValueError,
        r"conv_transpose: expected x .* got shape \(2, 3\)",
    ),
    (
        lambda: F.conv_transpose(IMAGE[:, :3], KERNEL),
        ValueError,
        r"conv_transpose: axis 1 of x: expected 4 channels .* got shape \(2, 3, 6, 5\)",
    ),
    (
        lambda: F.conv_transpose(IMAGE, KERNEL, groups=3),
        ValueError,
        "conv_transpose: groups=3 does not divide the 4 channels",
    ),
    (
        lambda: F.conv_transpose(IMAGE, KERNEL, np.ones(4), groups=2),
        ValueError,
        r"conv_transpose: bias: expected shape \(8,\), got \(4,\)",
    ),
    (
        lambda: F.conv_transpose(IMAGE, KERNEL, stride=2, output_padding=(0, 2)),
        ValueError,
        "output_padding must be less than stride or dilation, got 2 with stride 2 and dilation 1 "
        "on axis 3",
    ),
    (
        lambda: F.conv_transpose(IMAGE, KERNEL, padding=4),
        ValueError,
        r"conv_transpose: axis 2 of the result would have 0 elements \(x \(2, 4, 6, 5\)",
    ),
    (lambda: F.max_pool(X, 2), ValueError, r"max_pool: expected x \(N, C, ...\) .* got .*\(2, 3\)"),
    (
        lambda: F.max_pool(X[None], 5, padding=0),
        ValueError,
        r"max_pool: axis 2: kernel_size 5 is larger than the padded input, 3 \+ 2 \* 0",
    ),
    (
        lambda: F.avg_pool(X[None, None], (2, 3), padding=(0, 2)),
        ValueError,
        "avg_pool: axis 3: padding 2 is more than half of kernel_size 3",
    ),
    (
        lambda: F.avg_pool(X[None], (1, 1)),
        ValueError,
        "avg_pool: kernel_size: expected one int or 1, one for",
    ),
    (lambda: F.max_pool(X[None], 1, 0), ValueError, "max_pool: stride must be an integer >= 1"),
    (lambda: F.max_pool(X[None], 1.5), TypeError, "max_pool: kernel_size must be an integer"),
    (lambda: F.upsample(X, 2), ValueError, "upsample: expected x"),
    (lambda: F.upsample(X[None], 0), ValueError, "upsample: scale must be an integer >= 1"),
    (lambda: F.upsample(X[None], (1, 2)), ValueError, "upsample: scale: expected one int or 1"),
    (
        lambda: F.pixel_shuffle(X[:, :, None, None], 2),
        ValueError,
        r"pixel_shuffle: expected x .* multiple of 2\*\*2 channels, got shape \(2, 3, 1, 1\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), CASES, ids=[text for _, _, text in CASES])
def test_error(call, error, text):
    with pytest.raises(error, match=text):
        call()
