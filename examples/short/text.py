"""The text that gpt.py and lstm.py learn: Romeo and Juliet, 133,000 characters, one number per character."""

from pathlib import Path

import numpy as np

import minidl as md

TEXT = (Path(__file__).parent / "romeo.txt").read_text("utf-8")
CHARACTERS = sorted(set(TEXT))
NUMBER = {character: number for number, character in enumerate(CHARACTERS)}


def encoded(text: str) -> np.ndarray:
    return np.array([NUMBER[character] for character in text], np.int64)


def decoded(numbers) -> str:
    return "".join(CHARACTERS[number] for number in numbers)


def parts() -> tuple[np.ndarray, np.ndarray]:
    """The first nine tenths, to train on, and the last, to validate."""
    numbers = encoded(TEXT)
    cut = len(numbers) * 9 // 10
    return numbers[:cut], numbers[cut:]


def batch(numbers: np.ndarray, n: int, length: int, rng: np.random.Generator):
    """n pieces of the text, (n, length), and the same one character later: what is to be predicted."""
    begin = rng.integers(0, len(numbers) - length, (n, 1))
    places = begin + np.arange(length)
    return numbers[places], numbers[places + 1]


def draw_next(scores: np.ndarray, rng: np.random.Generator, temperature: float = 0.8) -> int:
    """A character drawn with the probabilities softmax(scores / temperature): lower takes fewer risks."""
    chances = md.functional.softmax(md.Tensor(scores.astype(np.float64)) / temperature).data
    return int(rng.choice(len(scores), p=chances / chances.sum()))
