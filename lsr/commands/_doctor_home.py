"""`lsr doctor --data DIR`: what ails a data directory and each index in it."""

from dataclasses import asdict
from pathlib import Path

import click

from ..progress import Bar, bar
from . import _printing as out


def doctor_home(ctx: click.Context, data: Path, *, quick: bool, json: bool) -> None:
    """Print what was found, the worst first, and exit 1 when something fails."""
    from index.doctor import ORDER, is_healthy
    from service.doctor import examine
    from service.home import Home

    with Home.open(data, read_only=True) as home:
        n_indexes = len(home.rows("SELECT name FROM indexes"))
        counter: Bar[None] = bar(total=n_indexes + 1, unit="parts", desc="examined")
        with counter:
            findings = examine(home, quick=quick, doing=lambda _: counter.update(1))
    healthy = is_healthy(findings)
    count = {level: sum(one.level == level for one in findings) for level in ORDER}
    if json:
        rows = [asdict(finding) for finding in findings]
        out.as_json({"data": data, "healthy": healthy, "summary": count, "findings": rows})
        ctx.exit(0 if healthy else 1)
    ordered = sorted(findings, key=lambda finding: ORDER[finding.level])
    width = max(len(finding.check) for finding in findings)
    for finding in ordered:
        out.fact(finding.level, f"{finding.check:<{width}} {out.printable(finding.measured)}")
        if finding.level in ("warn", "fail"):
            out.fact("", f"{'why':<{width}} {finding.why}")
            if finding.next:
                command = out.command_line(*map(out.printable, finding.next))
                out.fact("", f"{'try':<{width}} {command}")
    out.fact("examined", ", ".join(f"{n} {level}" for level, n in count.items() if n))
    wanted = [one.next for one in ordered if one.level in ("warn", "fail") and one.next]
    out.next_step(
        *(map(out.printable, wanted[0]) if wanted else ("lsr", "serve", "--data", str(data)))
    )
    ctx.exit(0 if healthy else 1)
