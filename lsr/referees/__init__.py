"""Outside referees: other people's software answers the same questions, and must agree."""

from .agreement import Agreement, Difference, Ranked, compare_rankings
from .product import product_search

__all__ = ["Agreement", "Difference", "Ranked", "compare_rankings", "product_search"]
