"""Operations whose windows slide over images of 1, 2 or 3 spatial axes: `conv` and `pooling`."""
