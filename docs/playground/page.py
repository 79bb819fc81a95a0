"""Between the page and the playground: what the page asks for, as text that JavaScript can read."""

import base64
import json

import numpy as np


class Message:
    """Numbers and arrays by name. Its repr is what the worker gives the page: JSON, arrays as base64 of their bytes."""

    def __init__(self, content: dict) -> None:
        self.content = content

    def __repr__(self) -> str:
        return json.dumps({name: _plain(value) for name, value in self.content.items()})


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"type": value.dtype.name, "data": data}
    if isinstance(value, float) and not np.isfinite(value):
        return None  # JSON has neither infinity nor NaN
    return value


def advance(player: object, seconds: float) -> Message:
    """Trains for so long (0: not at all), and tells how things are."""
    if seconds:
        player.train(seconds)
    return Message(player.frame())
