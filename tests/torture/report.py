"""The report: numbers that can be pasted into a page, and the same as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.torture.field import Field
from tests.torture.nemesis import Notes
from tests.torture.verdict import KINDS_OF_FINDING, Verdict


def build(
    seed: int,
    digest: str,
    lengths: Mapping[str, float],
    ground: Field,
    notes: Notes,
    found: Verdict,
) -> dict[str, object]:
    """Put the numbers together."""
    return {
        "seed": seed,
        "plan": digest,
        **{name: round(value, 1) for name, value in lengths.items()},
        "small_disk": ground.small,
        "acknowledged": found.acknowledged,
        "starts": found.starts,
        "kills": dict(notes.kills),
        "kills_total": sum(notes.kills.values()),
        "stops": dict(notes.stops),
        "verbs": dict(notes.done),
        "states": found.states,
        "outcomes": found.outcomes,
        **{what.replace(" ", "_"): len(found.findings.get(what, ())) for what in KINDS_OF_FINDING},
        "recovery_s": spread(found.recovery_s),
        "recovery_disturbed_s": spread(found.recovery_disturbed_s),
        "recovery_after_restart_s": spread(found.restart_s),
        "recovery_after_disturbed_restart_s": spread(found.restart_disturbed_s),
        "client_exits": dict(sorted(ground.exits.items())),
        "complaints": dict(sorted(found.complaints.items(), key=lambda item: -item[1])[:60]),
        "slow_recoveries": found.slow,
        "findings": found.findings,
    }


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Give n, p50, p99 and the maximum, and keep the values for a total."""
    ordered = sorted(values)

    def at(share: float) -> float | None:
        return (
            round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) if ordered else None
        )

    return {"n": len(ordered), "p50": at(0.5), "p99": at(0.99), "max": at(1.0)}


def total(reports: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Add several seeds up; of lengths, the worst."""
    both: dict[str, object] = {"seed": "all", "plan": f"{len(reports)} plans"}
    for key, first in reports[0].items():
        if key in both:
            continue
        values = [each[key] for each in reports]
        if isinstance(first, bool):
            both[key] = all(values)
        elif isinstance(first, (int, float)):
            both[key] = round(sum(values), 1)  # type: ignore[arg-type]
        elif key.startswith("recovery"):
            both[key] = {
                name: max((v[name] or 0 for v in values), default=None)  # type: ignore[index]
                for name in ("p50", "p99", "max")
            } | {"n": sum(v["n"] for v in values)}  # type: ignore[index]
        elif key == "slow_recoveries":
            both[key] = [text for value in values for text in value]  # type: ignore[attr-defined]
        elif key != "findings":
            counted: Counter[str] = Counter()
            for each in values:
                counted.update(each)  # type: ignore[call-overload]
            both[key] = dict(counted)
    both["findings"] = {}
    return both


def text(found: Mapping[str, object]) -> str:
    """Give the report as lines of Markdown."""
    rows = [
        ("seed", f"{found['seed']} (plan {found['plan']})"),
        ("faults for", f"{found['faults_s']} s, drained in {found['drain_s']} s"),
        ("jobs acknowledged", found["acknowledged"]),
        ("starts of jobs", found["starts"]),
        ("kills", f"{found['kills_total']}: {_counts(found['kills'])}"),
        ("stops", _counts(found["stops"])),
        ("states", _counts(found["states"])),
        ("outcomes of runs", _counts(found["outcomes"])),
        *((what, found[what.replace(" ", "_")]) for what in KINDS_OF_FINDING),
        ("recovery, pool alive", _spread(found["recovery_s"])),
        ("recovery, disk full or processes stopped", _spread(found["recovery_disturbed_s"])),
        ("recovery, after the next start", _spread(found["recovery_after_restart_s"])),
        (
            "the same, start or pool shot, too, or disturbed",
            _spread(found["recovery_after_disturbed_restart_s"]),
        ),
        ("slower than promised", "; ".join(found["slow_recoveries"]) or "none"),
    ]
    lines = ["| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    findings = found["findings"]
    assert isinstance(findings, dict)
    for what, texts in findings.items():
        lines += [f"{what}: {text}" for text in texts[:20]]
    return "\n".join(lines) + "\n"


def _counts(counts: object) -> str:
    assert isinstance(counts, dict)
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts))


def _spread(values: object) -> str:
    assert isinstance(values, dict)
    if not values["n"]:
        return "none"
    return "n {n}, p50 {p50} s, p99 {p99} s, max {max} s".format(**values)
