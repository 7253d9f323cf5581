"""Pairs that a search must not return, found by the query they belong to."""

import torch


class Excluded:
    """Excluded pairs of query and corpus index, sorted by query.

    Args:
        pairs: Integer tensor of shape (pairs, 2): query index, corpus index; ``None`` for no pairs.
        queries: Number of queries.
        corpus: Number of corpus vectors.
        device: Where the search runs.
        itself: The corpus is the queries, and none of them is its own neighbour.

    Raises:
        ValueError: The shape is another one, or an index is out of range.
    """

    def __init__(
        self, pairs: torch.Tensor | None, queries: int, corpus: int, device: torch.device, *, itself: bool
    ) -> None:
        pairs = torch.empty((0, 2), dtype=torch.int64) if pairs is None else pairs.to(torch.int64)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"exclude must have shape (pairs, 2), found {tuple(pairs.shape)}")
        pairs = pairs.to(device)
        if ((pairs < 0) | (pairs >= torch.tensor([queries, corpus], device=device))).any():
            raise ValueError(f"exclude holds an index outside {queries} queries and {corpus} corpus vectors")
        if itself:
            every = torch.arange(queries, device=device)
            pairs = torch.cat([pairs, torch.stack([every, every], dim=1)])
        self.columns = pairs[torch.argsort(pairs[:, 0]), 1]
        self.counts = torch.bincount(pairs[:, 0], minlength=queries)
        self.ends = self.counts.cumsum(0)

    def of(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions in ``rows`` and corpus indices of every pair excluded for these queries, one entry a pair."""
        counts = self.counts[rows]
        position = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), counts)
        within = torch.arange(len(position), device=rows.device) - (counts.cumsum(0) - counts)[position]
        return position, self.columns[(self.ends[rows] - counts)[position] + within]
