"""LangChain's own suite for retrievers, and what it does not ask."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_tests", reason="make test-seats")

from langchain_tests.integration_tests import RetrieversIntegrationTests

from index.seats.langchain import LsrRetriever


class TestLsrRetriever(RetrieversIntegrationTests):
    """Every test of the suite."""

    @pytest.fixture(autouse=True)
    def _place(self, pets: Path) -> None:
        self.pets = pets

    @property
    def retriever_constructor(self) -> type[LsrRetriever]:
        return LsrRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"where": self.pets}

    @property
    def retriever_query_example(self) -> str:
        return "cats"


def test_documents_carry_text_fields_id_and_score(pets: Path) -> None:
    retriever = LsrRetriever(where=pets, filter={"lang": "de"})
    (found,) = retriever.invoke("cats")
    assert found.id == "c"
    assert found.page_content == "Owls owls hunt; cats hunt too"
    assert found.metadata["year"] == 2020
    assert found.metadata["score"] > 0
    assert [one.id for one in retriever.invoke("cats", None, filter={"lang": "en"})] == ["a", "b"]
