"""What a notebook shows of a Tensor, a Module and a History: HTML with pictures in SVG, made without matplotlib."""
