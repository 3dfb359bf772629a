"""Several retrievers that answer as one."""

from collections.abc import Mapping, Sequence

from ..errors import QueryError, UsageError
from ..types import Retriever, Run
from .fusion import METHODS, Method, checked_weights, fuse


class HybridRetriever:
    """Asks each retriever for `depth` documents and fuses the answers; a `Retriever` itself.

    The depth does not follow k, so that the scale of the scores, and what weights were tuned for,
    stays the same: at most `depth` times the number of retrievers come back.
    """

    def __init__(
        self,
        retrievers: Sequence[Retriever],
        method: Method = "rrf",
        weights: Sequence[float] = (),
        *,
        depth: int = 1000,
    ) -> None:
        if not retrievers:
            raise UsageError("a hybrid of no retrievers; wanted at least one")
        if method not in METHODS:
            raise UsageError(f"no fusion {method!r}; wanted one of {', '.join(METHODS)}")
        if depth < 1:
            raise UsageError(f"depth = {depth}; wanted at least 1")
        self.weights = tuple(checked_weights(weights, len(retrievers)).tolist())
        self.retrievers, self.method, self.depth = tuple(retrievers), method, depth

    def search(self, texts: Mapping[str, str], k: int) -> Run:
        """Answer `{query_id: text}` with the k best documents of each query, best first."""
        if k < 1:
            raise QueryError(f"k = {k}; wanted at least 1")
        runs = [retriever.search(texts, self.depth) for retriever in self.retrievers]
        return fuse(runs, self.method, self.weights, k=k)
