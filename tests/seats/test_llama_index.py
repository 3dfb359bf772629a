"""The LlamaIndex retriever."""

from pathlib import Path

import pytest

pytest.importorskip("llama_index.core", reason="make test-seats")

from llama_index.core.schema import NodeWithScore

from index.seats.llama_index import LsrRetriever


def test_nodes_come_best_first_with_scores_and_metadata(pets: Path) -> None:
    nodes = LsrRetriever(pets, k=2).retrieve("cats hunt")
    assert all(isinstance(node, NodeWithScore) for node in nodes)
    assert [node.node.node_id for node in nodes] == ["c", "a"]
    assert nodes[0].score is not None
    assert nodes[1].score is not None
    assert nodes[0].score > nodes[1].score
    assert nodes[0].node.get_content() == "Owls owls hunt; cats hunt too"
    assert nodes[0].node.metadata["year"] == 2020


def test_filters_are_ours(pets: Path) -> None:
    retriever = LsrRetriever(pets, filter={"year": {"lt": 2005}})
    assert [node.node.node_id for node in retriever.retrieve("cats")] == ["a"]


async def test_it_can_be_awaited(pets: Path) -> None:
    nodes = await LsrRetriever(pets).aretrieve("owls")
    assert [node.node.node_id for node in nodes] == ["c"]
