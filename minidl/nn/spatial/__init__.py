"""Layers of images: convolution, pooling, changes of size."""
