import triton
import triton.language as tl
from torch import Tensor

from chorus_kernels.launch.triton import options, trigger, wait

VALUES = 4096  # a program


def scatter(source: Tensor, target: Tensor, pieces: Tensor, longest: int) -> None:
    _scatter[(len(pieces), triton.cdiv(longest, VALUES))](
        source, target, pieces, VALUES=VALUES, num_warps=4, **options(source)
    )


@triton.jit
def _scatter(source, target, pieces, VALUES: tl.constexpr, PDL: tl.constexpr):
    """target[to + i] = source[begin + i] for i < length"""
    wait(PDL)
    piece = pieces + tl.program_id(0) * 3
    begin = tl.load(piece)
    to = tl.load(piece + 1)
    length = tl.load(piece + 2)
    index = tl.program_id(1) * VALUES + tl.arange(0, VALUES)
    tl.store(target + to + index, tl.load(source + begin + index, index < length), index < length)
    trigger(PDL)
