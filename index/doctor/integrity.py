"""Whether the index is whole, as far as opening it tells; `lsr check` reads every byte."""

from dataclasses import asdict, dataclass

from .case import Case
from .finding import Finding


@dataclass(frozen=True, slots=True)
class Integrity:
    """What opening verified: headers, sizes and directories of segments, the encoder's copy."""

    generation: int
    n_segments: int
    n_pending: int
    n_deleted: int
    n_bytes: int
    encoder_damage: str | None


def integrity(case: Case) -> Integrity:
    """The state of an index that could be opened."""
    facts = case.snapshot.summary()
    return Integrity(
        int(facts["generation"]),
        int(facts["n_segments"]),
        int(facts["n_pending"]),
        int(facts["n_deleted"]),
        int(facts["segment_bytes"]),
        case.index.encoder_damage(),
    )


def check_integrity(case: Case) -> Finding:
    """Opened and consistent; anything less than that fails."""
    found = integrity(case)
    if found.encoder_damage is not None:
        return Finding(
            "integrity",
            "fail",
            found.encoder_damage,
            "queries would be encoded by something else than what encoded the documents",
            (
                *("lsr", "index", case.corpus, case.place),
                *("--encoder", case.encoder_name, "--overwrite"),
            ),
            asdict(found),
        )
    return Finding(
        "integrity",
        "ok",
        f"opened at commit {found.generation}, {found.n_segments} segment files whose headers, "
        f"sizes and directories fit; {found.n_pending:,} pending rows, {found.n_deleted:,} "
        f"deleted; lsr check {case.place} reads every byte",
        numbers=asdict(found),
    )
