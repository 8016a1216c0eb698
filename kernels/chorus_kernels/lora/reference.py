from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from chorus_kernels.lora.site import Segment, Site

Gather = Callable[[int], tuple[Tensor, Tensor]]  # slot → A [rank, in], B [rank, out], as Site.gather


def lora(y: Tensor, x: Tensor, site: Site, segments: Sequence[Segment], gather: Gather | None = None) -> None:
    """y[t] += x[t] @ A[s].T @ B[s] for each token t of a segment of slot s, in place.

    x: [tokens, in]; y: [tokens, out]. `gather` may stand in for `site.gather` where the caller keeps its results.
    """
    gather = gather or site.gather
    for segment in segments:
        a, b = gather(segment.slot)
        if len(a):
            tokens = slice(segment.start, segment.stop)
            y[tokens].addmm_(F.linear(x[tokens], a), b)
