from collections.abc import Callable, Sequence

from torch import Tensor

from chorus_kernels.linear import linear
from chorus_kernels.lora.site import Segment, Site

Gather = Callable[[int], tuple[Tensor, Tensor]]  # slot → A [rank, in], B [rank, out], as Site.gather


def lora(y: Tensor, x: Tensor, site: Site, segments: Sequence[Segment], gather: Gather | None = None) -> None:
    """y[t] += x[t] @ A[s].T @ B[s] for each token t of a segment of slot s, in place.

    x: [tokens, in]; y: [tokens, out]. `gather` may stand in for `site.gather` where the caller keeps its results.
    """
    gather = gather or site.gather
    for segment in segments:
        a, b = gather(segment.slot)
        if a.shape[0]:  # len(a) is a Python call, and this loop runs for every segment of every product
            y[segment.start : segment.stop].addmm_(linear(x[segment.start : segment.stop], a), b)
