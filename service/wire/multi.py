"""Many searches in one request."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, SkipValidation

from .answers import SearchResponse
from .base import Answer, Strict, Text
from .problems import Problem
from .search import SearchRequest

MAX_SEARCHES = 64
"""Searches of one request."""


class SearchItem(SearchRequest):
    """One search of many, and where."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"index": "papers", "query": {"text": "caffeine"}, "limit": 3}]
        }
    )

    index: Text


class MultiSearchRequest(Strict):
    """Searches that are answered one by one: a wrong one costs the others nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "searches": [
                        {"index": "papers", "query": {"text": "caffeine"}, "limit": 3},
                        {"index": "notes", "query": {"text": "caffeine"}, "fields": []},
                    ]
                }
            ]
        }
    )

    # Each is read when its turn comes, so that its mistakes are its own.
    searches: Annotated[
        list[SkipValidation[SearchItem]], Field(min_length=1, max_length=MAX_SEARCHES)
    ]


class Answered(Answer):
    """One search that was answered."""

    status: Literal[200]
    answer: SearchResponse


class Refused(Answer):
    """One search that was not; pointers lead into its own part of the request."""

    status: int
    problem: Problem


class MultiSearchResponse(Answer):
    """A result for each search, in order."""

    results: list[Answered | Refused]
