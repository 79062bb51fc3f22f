"""`queuectl stats`: what the jobs that have ended came to, by queue and by command."""

from __future__ import annotations

from queuectl import spec, values
from queuectl.commands.parsing import option
from queuectl.render import length, stamp, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

    from queuectl.api import Queue
    from queuectl.figures import Figures
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl stats
  queuectl stats --since 1d
  queuectl stats --json | jq .total.run_p95_s
"""
HEAD = ("JOBS", "OK", "DEAD", "CANCELLED", "RUNS", "FAILED", "WAIT P50", "P95", "RUN P50", "P95")
# What a narrow terminal does without, in this order: what follows from the others goes first.
SPARE = ("CANCELLED", "RUNS", "OK", "P95", "WAIT P50", "FAILED", "RUN P50", "DEAD")
COMMANDS = 20  # a table of all commands helps nobody


def arguments(parser: ArgumentParser) -> None:
    """Declare what `stats` takes."""
    parser.add_argument("--since", metavar="DUR", help="only jobs that ended in the last DUR")
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, since: str | None) -> int:
    """Print the figures: of all, by queue, by command."""
    length_s: float | None = option("--since", values.duration, since)  # type: ignore[assignment]
    start = None if length_s is None else spec.now_ms() - round(length_s * 1000)
    stats = queue.stats(start)
    if talk.as_json:
        told = {
            "since": stamp(start),
            "total": stats.total.as_json(),
            "queues": [{"queue": name, **f.as_json()} for name, f in stats.queues.items()],
            "commands": [{"command": name, **f.as_json()} for name, f in stats.commands.items()],
        }
        talk.json(told)
        return 0
    every = [_row("all", stats.total), *_rows(stats.queues)]
    talk.answer(table((*HEAD, "QUEUE"), every, spare=SPARE))
    if stats.commands:
        talk.answer("")
        talk.answer(table((*HEAD, "COMMAND"), _rows(stats.commands)[:COMMANDS], spare=SPARE))
    if len(stats.commands) > COMMANDS:
        talk.tip(f"{len(stats.commands) - COMMANDS} more commands: queuectl stats --json")
    return 0


def _rows(groups: Mapping[str, Figures]) -> list[tuple[str, ...]]:
    return [_row(name, figures) for name, figures in groups.items()]


def _row(name: str, figures: Figures) -> tuple[str, ...]:
    told = figures.as_json()
    counts = [str(told[key]) for key in ("jobs", "completed", "dead", "cancelled", "runs")]
    rate = told["failure_rate"]
    times = [told[key] for key in ("wait_p50_s", "wait_p95_s", "run_p50_s", "run_p95_s")]
    failed = "-" if rate is None else f"{rate:.1%}"
    return *counts, failed, *(length(each) for each in times), name  # type: ignore[arg-type]
