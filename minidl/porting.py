"""Names that people bring from PyTorch, Keras and Chainer, and what they are called here.

`NAMES` is the one table: a function or layer that is missing raises an AttributeError that says what it is here, the
page docs/porting/names.md lists all of them, and the tests ask for each and evaluate each answer. (Names on tensors and
modules are on the page alone: a class that has ``__getattr__`` is slower at every attribute.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# Where the name was asked for -> names -> what to write. Several names of one thing are separated by spaces.
NAMES: dict[str, dict[str, str]] = {
    "md": {
        "tensor as_tensor Variable constant": "md.Tensor(data)",
        "from_numpy": "md.Tensor(array), which shares the memory",
        "cat concat hstack vstack": "md.concatenate(tensors, axis)",
        "unsqueeze": "md.expand_dims(x, axis)",
        "permute swapaxes movedim t": "md.transpose(x, axes), with all axes in their new order, as in NumPy",
        "view ravel": "md.reshape(x, shape)",
        "expand": "md.broadcast_to(x, shape)",
        "mm bmm mv dot": "md.matmul(a, b), or a @ b",
        "clamp": "md.clip(x, low, high)",
        "subtract": "md.sub, or a - b",
        "multiply": "md.mul, or a * b",
        "divide true_divide": "md.div, or a / b",
        "negative": "md.neg, or -x",
        "square": "x ** 2",
        "reduce_mean": "md.mean(x, axis)",
        "reduce_sum": "md.sum(x, axis)",
        "amax": "md.max(x, axis)",
        "amin": "md.min(x, axis)",
        "eq": "md.equal, or a == b",
        "atan": "md.arctan(x)",
        "unbind": "md.unstack(x, axis), or list(x)",
        "chunk": "md.split(x, number, axis)",
        "repeat_interleave": "md.repeat(x, times, axis)",
        "normal standard_normal": "md.randn(shape)",
        "zeros_like": "md.zeros(x.shape)",
        "ones_like": "md.ones(x.shape)",
        "full_like fill": "md.full(x.shape, value)",
        "mod fmod": "md.remainder, or a % b",
        "cast": "md.astype(x, dtype)",
        "relu": "functional.relu",
        "sigmoid": "functional.sigmoid",
        "softmax": "functional.softmax(x, axis)",
        "float32 float": 'numpy.float32, or "float32"',
        "float64 double": 'numpy.float64, or "float64"',
        "long int64": 'numpy.int64, or "int64"',
        "device cuda backends": "nothing: minidl runs on the CPU only",
        "inference_mode set_grad_enabled no_backprop_mode": "md.no_grad(), md.enable_grad()",
        "GradientTape": "md.grad(y, x), or y.backward()",
        "Function": "md.Op: a subclass writes forward and backward",
        "compile jit": "md.capture(step), which records a training step",
        "Module": "nn.Module",
        "Parameter": "nn.Parameter",
        "EarlyStopping": "callbacks.EarlyStopping(monitor, patience)",
        "ModelCheckpoint BackupAndRestore": "callbacks.Checkpoint(path, every, resume=True)",
        "metrics": 'metrics=("accuracy", "f1") of md.fit and md.evaluate; md.confusion_matrix(y, target)',
        "utils": "data.DataLoader, optim.clip_grad_norm",
        "optimizers": "optim.SGD, optim.Adam",
        "layers": "nn.Affine, nn.Conv and the others in minidl.nn",
        "losses": "functional.cross_entropy, functional.mse_loss and the others",
        "set_num_interop_threads": "md.set_num_threads(n)",
        "get_default_dtype set_default_dtype": "dtype= of md.Tensor, or model.astype(dtype)",
        "allclose": "numpy.allclose(a.data, b.data)",
        "torchinfo torchsummary plot_model": "md.summary(model, input_shape)",
        "profiler": "md.profile()",
    },
    "nn": {
        "Linear Dense": "nn.Affine(in_features, out_features)",
        "Conv1d Conv2d Conv3d Conv1D Conv2D Conv3D Convolution2D ConvolutionND": (
            "nn.Conv(in_channels, out_channels, kernel_size); kernel_size=(3, 3) has as many axes as the images"
        ),
        "ConvTranspose1d ConvTranspose2d ConvTranspose3d Conv2DTranspose Deconvolution2D": (
            "nn.ConvTranspose(in_channels, out_channels, kernel_size)"
        ),
        "BatchNorm1d BatchNorm2d BatchNorm3d BatchNormalization": "nn.BatchNorm(channels), for any number of axes",
        "InstanceNorm1d InstanceNorm2d InstanceNorm3d": "nn.InstanceNorm(channels)",
        "LayerNormalization": "nn.LayerNorm(shape)",
        "MaxPool1d MaxPool2d MaxPool3d MaxPooling2D": "nn.MaxPool(kernel_size)",
        "AvgPool1d AvgPool2d AvgPool3d AveragePooling2D": "nn.AvgPool(kernel_size)",
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d": "nn.AdaptiveAvgPool(output_size)",
        "AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d": "nn.AdaptiveMaxPool(output_size)",
        "GlobalAveragePooling2D GlobalAvgPool": "nn.AdaptiveAvgPool(1), nn.Flatten()",
        "GlobalMaxPooling2D GlobalMaxPool": "nn.AdaptiveMaxPool(1), nn.Flatten()",
        "UpsamplingNearest2d UpSampling2D": "nn.Upsample(factor)",
        "UpsamplingBilinear2d": 'nn.Upsample(factor, "bilinear"), with align_corners=False',
        "SpatialDropout2D Dropout1d Dropout3d": "nn.Dropout2d(p), for any number of spatial axes",
        "SpectralNormalization": "nn.spectral_norm(layer)",
        "parametrizations": "nn.spectral_norm(layer), nn.weight_norm(layer)",
        "Softmax2d": "nn.Softmax(1)",
        "Swish": "nn.SiLU()",
        "LeakyReLu LeakyRelu": "nn.LeakyReLU(negative_slope)",
        "Relu": "nn.ReLU()",
        "EmbedID": "nn.Embedding(num_embeddings, embedding_dim)",
        "Chain ChainList Link Model": "nn.Module",
        "ParameterList": "a plain list: the parameters in it are found",
        "SoftmaxCrossEntropyLoss SparseCategoricalCrossentropy CategoricalCrossentropy": "nn.CrossEntropyLoss()",
        "BinaryCrossentropy": "nn.BCEWithLogitsLoss()",
        "MeanSquaredError": "nn.MSELoss()",
        "MeanAbsoluteError": "nn.L1Loss()",
        "SmoothL1Loss Huber": "nn.HuberLoss()",
        "KLDivergence": 'nn.KLDivLoss("batchmean")',
        "MultiHeadAttention": "nn.MultiheadAttention(embed_dim, num_heads)",
        "SimpleRNN": "nn.RNN(input_size, hidden_size)",
        "Bidirectional": "nn.LSTM(input_size, hidden_size, bidirectional=True)",
        "RNNCell LSTMCell GRUCell": "functional.lstm(x, state, weight_ih, weight_hh), with one step of x",
        "functional": "from minidl import functional as F",
        "utils": "optim.clip_grad_norm(parameters, max_norm)",
        "init": "from minidl import init: nn.Affine(2, 3, weight=init.HeNormal())",
        "ZeroPad2d ZeroPadding2D": "md.pad(x, pad_width) in forward",
        "ReflectionPad2d": 'md.pad(x, pad_width, mode="reflect") in forward, or nn.Conv(..., padding_mode="reflect")',
        "ReplicationPad2d": 'md.pad(x, pad_width, mode="replicate") in forward',
        "Unflatten": "nn.Reshape(shape)",
    },
    "functional": {
        "linear dense": "functional.affine(x, weight, bias)",
        "conv1d conv2d conv3d convolution_2d": "functional.conv(x, weight, bias)",
        "conv_transpose1d conv_transpose2d conv_transpose3d deconvolution_2d": "functional.conv_transpose(x, weight)",
        "max_pool1d max_pool2d max_pooling_2d": "functional.max_pool(x, kernel_size)",
        "avg_pool1d avg_pool2d average_pooling_2d": "functional.avg_pool(x, kernel_size)",
        "adaptive_avg_pool2d": "functional.adaptive_avg_pool(x, output_size)",
        "adaptive_max_pool2d": "functional.adaptive_max_pool(x, output_size)",
        "interpolate": "functional.upsample(x, factor, mode)",
        "smooth_l1_loss": "functional.huber_loss(y, target)",
        "mse mean_squared_error": "functional.mse_loss(y, target)",
        "kl_divergence": "functional.kl_div(log_probabilities, target)",
        "softmax_cross_entropy sparse_categorical_crossentropy": "functional.cross_entropy(y, target)",
        "sigmoid_cross_entropy": "functional.binary_cross_entropy_with_logits(y, target)",
        "log_sigmoid": "functional.logsigmoid(x)",
        "swish": "functional.silu(x)",
        "hard_swish": "functional.hardswish(x)",
        "embed_id": "functional.embedding(ids, weight)",
        "pad": "md.pad(x, pad_width)",
        "concat": "md.concatenate(tensors, axis)",
        "accuracy precision recall f1_score": 'metrics=("accuracy", "f1") of md.fit and md.evaluate',
    },
    "optim": {
        "lr_scheduler": "optim.StepLR, optim.CosineLR and the others, beside the optimizers",
        "CosineAnnealingLR": "optim.CosineLR(optimizer, steps)",
        "CosineAnnealingWarmRestarts": "optim.CosineRestartsLR(optimizer, period, growth)",
        "LinearLR": "optim.WarmupLR",
        "MomentumSGD": "optim.SGD(parameters, lr, momentum=0.9)",
        "NesterovAG": "optim.SGD(parameters, lr, momentum=0.9, nesterov=True)",
        "RMSProp": "optim.RMSprop(parameters)",
        "Nadam": "optim.NAdam(parameters)",
        "AdaGrad": "optim.Adagrad(parameters)",
        "AdaDelta": "optim.Adadelta(parameters)",
        "AveragedModel swa_utils ExponentialMovingAverage": "optim.EMA(model, decay)",
        "clip_grad_norm_": "optim.clip_grad_norm(parameters, max_norm)",
        "clip_grad_value_": "optim.clip_grad_value(parameters, clip_value)",
    },
    "data": {
        "random_split": "data.split(arrays, fractions)",
        "MNIST": "data.mnist(train=True)",
        "FashionMNIST": "data.fashion_mnist(train=True)",
        "CIFAR10": "data.cifar10(train=True)",
        "Dataset": "a tuple of arrays, a list of (x, y), or a class of yours with __len__ and __getitem__",
        "utils": "data.DataLoader",
        "ToTensor": "data.transforms.ToFloat()",
        "SerialIterator": "data.DataLoader(arrays, batch_size)",
        "WeightedRandomSampler": "data.WeightedSampler(weights, num_samples)",
        "SubsetRandomSampler": "data.Subset(dataset, rows), with shuffle=True of data.DataLoader",
        "SequentialSampler RandomSampler": "shuffle=False or True of data.DataLoader",
        "BatchSampler": "batch_size and drop_last of data.DataLoader",
        "collate default_collate": "data.DataLoader, which stacks samples",
        "image_dataset_from_directory ImageDataGenerator": "data.ImageFolder(root, size=64)",
        "make_grid": "images.make_grid(batch)",
        "save_image": "images.save_image(batch, path)",
    },
    "transforms": {
        "ToTensor PILToTensor ConvertImageDtype ToDtype": "transforms.ToFloat(), for bytes of shape (N, C, H, W)",
        "RandomResizedCrop": "transforms.Resize(size), then transforms.RandomCrop(size)",
        "RandomGrayscale": "transforms.Grayscale(3), of all images",
        "RandomApply RandomChoice": "a class that derives from transforms.Transform",
        "functional": "transforms.Resize(32)(x): a transform is called with a batch",
        "InterpolationMode": 'transforms.Resize(size, resample="bicubic")',
    },
    "images": {
        "read_image imread load_img": "images.read(path)",
        "write_png write_jpeg imwrite imsave save_img": "images.write(picture, path)",
    },
    "init": {
        "kaiming_normal_ kaiming_normal he_normal": "init.HeNormal()",
        "kaiming_uniform_ kaiming_uniform he_uniform": "init.HeUniform()",
        "xavier_normal_ xavier_normal glorot_normal": "init.GlorotNormal()",
        "xavier_uniform_ xavier_uniform glorot_uniform": "init.GlorotUniform()",
        "normal_": "init.Normal(std)",
        "uniform_": "init.Uniform",
        "zeros_ zeros Zero": "init.Constant(0)",
        "ones_ ones One": "init.Constant(1)",
        "constant_": "init.Constant(value)",
        "orthogonal_": "init.Orthogonal()",
        "trunc_normal_": "init.TruncatedNormal",
    },
    "Tensor": {
        "view ravel": "x.reshape(shape)",
        "permute swapaxes movedim": "x.transpose(axes), with all axes in their new order, as in NumPy",
        "t": "x.T",
        "unsqueeze": "x.expand_dims(axis)",
        "expand expand_as": "x.broadcast_to(shape)",
        "dim ndimension": "x.ndim",
        "numel nelement": "x.size",
        "cpu cuda to device is_cuda": "nothing: minidl runs on the CPU only; x.astype(dtype) converts",
        "float": 'x.astype("float32")',
        "double": 'x.astype("float64")',
        "long int": 'x.astype("int64")',
        "half bfloat16": "nothing: minidl has float32 and float64",
        "type": "x.astype(dtype)",
        "clamp": "x.clip(low, high)",
        "contiguous clone copy": "x * 1 (a copy that is differentiated), or Tensor(x.data.copy())",
        "mm matmul dot bmm": "x @ other",
        "pow": "x ** p",
        "add": "x + other",
        "sub": "x - other",
        "mul": "x * other",
        "div": "x / other",
        "add_": "x += other",
        "sub_": "x -= other",
        "mul_": "x *= other",
        "div_": "x /= other",
        "copy_ fill_ zero_": "x.data[...] = values",
        "grad_fn creator": "md.draw(x), which shows the graph",
        "tolist": "x.data.tolist()",
        "sigmoid": "functional.sigmoid(x)",
        "relu": "functional.relu(x)",
        "softmax": "functional.softmax(x, axis)",
        "array": "x.data",
        "cleargrad": "x.zero_grad()",
        "requires_grad_": "x.requires_grad = True",
        "detach_ unchain": "x.detach()",
        "masked_fill": "md.where(mask, value, x)",
        "eq": "x == other",
        "atan": "x.arctan()",
        "unbind": "md.unstack(x, axis), or list(x)",
        "chunk split": "md.split(x, number, axis)",
        "repeat_interleave": "x.repeat(times, axis), which repeats elements; to repeat x as a whole: md.tile(x, times)",
        "flip": "md.flip(x, axis)",
        "roll": "md.roll(x, shift, axis)",
        "tril": "md.tril(x, k)",
        "triu": "md.triu(x, k)",
        "amax": "x.max(axis)",
        "amin": "x.min(axis)",
        "is_leaf": "x.requires_grad, for tensors that you made",
    },
    "Module": {
        "to cuda cpu to_gpu": "nothing: minidl runs on the CPU only; model.astype(dtype) converts",
        "double": 'model.astype("float64")',
        "float": 'model.astype("float32")',
        "half": "nothing: minidl has float32 and float64",
        "named_buffers": "model.buffers, a dict",
        "params trainable_variables trainable_weights": "model.parameters()",
        "namedparams": "model.named_parameters()",
        "cleargrads": "model.zero_grad()",
        "register_buffer": "self.name = array: an array is saved, and not trained",
        "register_parameter": "self.name = nn.Parameter(...)",
        "add_module register_module add": "self.name = module, or a list of modules",
        "requires_grad_": "for p in model.parameters(): p.requires_grad = False",
        "fit": "md.fit(model, loader, loss, optimizer, epochs)",
        "evaluate": "md.evaluate(model, loader, loss)",
        "predict": "model.eval(), then model(x) in md.no_grad()",
        "compile": "md.fit(model, loader, loss, optimizer, epochs), which takes what compile takes",
        "save save_weights": 'md.save(model.state_dict(), "file.npz")',
        "load_weights": 'model.load_state_dict(md.load("file.npz"))',
        "get_weights set_weights": "model.state_dict(), model.load_state_dict(state)",
        "summary": "md.summary(model, input_shape)",
        "register_full_backward_hook": "model.register_backward_hook(fn)",
        "register_forward_pre_hook": "nothing: a subclass with a forward of its own",
    },
}
HINTS = {
    place: {name: here for names, here in table.items() for name in names.split()}
    for place, table in NAMES.items()
}
PLACES = {"md": "minidl", "nn": "minidl.nn", "functional": "minidl.functional", "optim": "minidl.optim",
          "data": "minidl.data", "transforms": "minidl.data.transforms", "images": "minidl.images",
          "init": "minidl.init"}  # fmt: skip


def missing(place: str, name: str, there: Iterable[str]) -> AttributeError:
    """The error for a name that is not there: what it is called here, or which names look like it.

    Args:
        place: a key of `PLACES`.
        there: the names that are there.
    """
    message = f"module {PLACES[place]!r} has no attribute {name!r}"
    hint = HINTS[place].get(name)
    if hint is None:
        import difflib  # takes longer to import than all of this, and is seldom needed

        close = difflib.get_close_matches(name, [n for n in there if not n.startswith("_")], 3)
        hint = f"did you mean {' or '.join(close)}?" if close and not name.startswith("_") else ""
    elif not hint.startswith("nothing"):
        hint = f"here it is {hint}"
    else:
        hint = hint.removeprefix("nothing: ")
    return AttributeError(f"{message}; {hint}" if hint else message)


class Count(int):
    """The number of a tensor's elements: x.size, which PyTorch's scripts call."""

    def __call__(self, *_: Any) -> Any:
        raise TypeError(
            "x.size is the number of elements, as in NumPy, not a method; for the lengths: x.shape, x.shape[0]"
        )


class Buffers(dict):
    """A module's arrays by name: model.buffers, which PyTorch's scripts call."""

    def __call__(self) -> Any:
        raise TypeError(
            "buffers is a dict, not a method: model.buffers.values(), model.buffers.items()"
        )
