from torch import Tensor


def scatter(source: Tensor, target: Tensor, pieces: Tensor) -> None:
    for begin, to, length in pieces.tolist():
        target[to : to + length] = source[begin : begin + length]
