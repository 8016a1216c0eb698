"""Which sizes of steps have CUDA graphs: a bounded set, and for each step the smallest that holds it.

A graph launches for its whole size; what is not in use costs a little.
"""

from bisect import bisect_left
from dataclasses import dataclass

ROW_BUCKETS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256)  # of steps that only decode
TILE_BUCKETS = (8, 32, 128)  # of adapters' tokens in such steps

# Steps with prompt chunks of few tokens take longer to launch than to run. With adapters there are twice as many
# launches, and the card needs more tokens to be busy for as long.
PROMPT_BUCKETS = (32, 64, 128, 192, 256)
ADAPTER_PROMPT_BUCKETS = (*PROMPT_BUCKETS, 384, 512, 640, 768, 896, 1024)
PROMPT_TILE_BUCKETS = (16, 64)
FEW_SINGLES = 8  # more leave no part of a context to split
CHUNKS = 16  # of prompts in one such step; more are launched eagerly

DECODE_TILE = 16  # tokens of one adapter that the kernels of few tokens take at once
PROMPT_TILE = 128  # the same of those of many
FEW_TOKENS = 256  # in a step; with more the card is busy with the products alone
PROMPT_PADDING = 64  # tokens; products of odd sizes are slower than a few rows more


def padded(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


@dataclass(frozen=True, slots=True, order=True)
class GraphSize:
    tokens: int
    tiles: int  # of one adapter's tokens each; 0: no token has an adapter
    singles: int  # rows of one token
    queries: int = 0  # tiles of prompt chunks' queries; 0: every row has one token


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tokens of a step with prompt chunks stand."""

    tokens: int  # padded
    singles: int  # sequences of one token, padded; those of chunks follow

    @property
    def lora_tile(self) -> int:
        """Tokens of one adapter that a kernel takes at once."""
        return DECODE_TILE if self.tokens <= FEW_TOKENS else PROMPT_TILE


class DecodeSizes:
    """Of steps in which every row has one token."""

    def __init__(self, max_rows: int, *, lora: bool) -> None:
        self._rows = [rows for rows in ROW_BUCKETS if rows < max_rows]
        self._rows += [max_rows] if max_rows <= ROW_BUCKETS[-1] else []
        self._lora = lora

    @property
    def rows(self) -> tuple[int, ...]:
        return tuple(self._rows)

    def all(self) -> list[GraphSize]:
        sizes = [GraphSize(rows, 0, rows) for rows in self._rows]
        if self._lora:
            sizes += [GraphSize(rows, tiles, rows) for rows in self._rows for tiles in _up_to(rows, TILE_BUCKETS)]
        return sizes

    def holding(self, rows: int, tiles: int) -> GraphSize | None:
        """None where the step has more rows than any graph."""
        bucket = _smallest(self._rows, rows)
        if bucket is None:
            return None
        return GraphSize(bucket, _smallest(_up_to(bucket, TILE_BUCKETS), tiles) or 0 if tiles else 0, bucket)


class PromptSizes:
    """Of steps with prompt chunks. tile_queries: tokens of one chunk that attention takes at once."""

    def __init__(self, max_tokens: int, max_rows: int, tile_queries: int, *, lora: bool) -> None:
        self._base = [tokens for tokens in PROMPT_BUCKETS if tokens <= max_tokens]
        self._adapters = [tokens for tokens in ADAPTER_PROMPT_BUCKETS if tokens <= max_tokens] if lora else []
        self._max_rows = max_rows
        self._tile_queries = tile_queries

    def all(self) -> list[GraphSize]:
        return [
            GraphSize(tokens, tiles, singles, self._queries(tokens))
            for buckets, lora in ((self._base, False), (self._adapters, True))
            for tokens in buckets
            for singles in self._singles(tokens)
            for tiles in (self._tiles(Layout(tokens, singles)) if lora else (0,))
        ]

    def layout(self, tokens: int, singles: int, *, lora: bool) -> Layout:
        """For a step of so many tokens, of which so many rows have one: of a graph's size where there may be one."""
        bucket = _smallest(self._adapters if lora else self._base, tokens)
        room = _smallest(self._singles(bucket), singles) if bucket is not None else None
        if bucket is None or room is None:
            return Layout(padded(tokens, PROMPT_PADDING), singles)
        return Layout(bucket, room)

    def holding(self, layout: Layout, tiles: int, queries: int) -> GraphSize | None:
        """None where no graph has that layout, or so many tiles."""
        if layout.tokens not in (self._adapters if tiles else self._base) or queries > self._queries(layout.tokens):
            return None
        if layout.singles not in self._singles(layout.tokens):
            return None
        bucket = _smallest(self._tiles(layout), tiles) if tiles else 0
        return (
            None if bucket is None else GraphSize(layout.tokens, bucket, layout.singles, self._queries(layout.tokens))
        )

    def _singles(self, tokens: int) -> list[int]:
        most = min(self._max_rows, tokens, ROW_BUCKETS[-1])
        return _up_to(most, (FEW_SINGLES,) if tokens <= FEW_TOKENS else ())

    def _tiles(self, layout: Layout) -> list[int]:
        """Each adapter may have one tile that is not full."""
        most = min(layout.tokens, layout.tokens // layout.lora_tile + min(self._max_rows, ROW_BUCKETS[-1]))
        return _up_to(most, PROMPT_TILE_BUCKETS)

    def _queries(self, tokens: int) -> int:
        return tokens // self._tile_queries + CHUNKS


def _up_to(most: int, buckets: tuple[int, ...]) -> list[int]:
    return [*(bucket for bucket in buckets if bucket < most), most]


def _smallest(buckets: list[int], count: int) -> int | None:
    """The smallest that is not below the count."""
    place = bisect_left(buckets, count)
    return buckets[place] if place < len(buckets) else None
