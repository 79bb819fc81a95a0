"""The faces of the convolutions."""

from minidl._kernels.reference import conv_forward, conv_input_grad, conv_weight_grad
