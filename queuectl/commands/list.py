"""`queuectl list`: what is processing, what runs next, what ended last."""

from __future__ import annotations

from queuectl import spec, values
from queuectl.commands.parsing import option
from queuectl.errors import UsageError
from queuectl.lifecycle import State
from queuectl.render import JOB_FIELDS, job_json, moment, table, waiting_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterable

    from queuectl.api import Queue
    from queuectl.job import Job
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl list                              the 50 that matter most now
  queuectl list --state dead --queue build
  queuectl list --label nightly -q           only the ids
  queuectl list --since 1h --fields id,state,exit_code,command
"""
ROWS = 50
SPARE = ("RUNS", "QUEUE", "WHEN")  # what a narrow terminal does without, in this order
HEAD = ("ID", "STATE", "QUEUE", "RUNS", "WHEN", "COMMAND")


def arguments(parser: ArgumentParser) -> None:
    """Declare what `list` takes."""
    parser.add_argument(
        "--state",
        choices=[str(state) for state in State],
        metavar="S",
        help=f"only jobs in this state: {', '.join(State)}",
    )
    parser.add_argument("--queue", dest="queue_name", metavar="Q", help="only jobs of this queue")
    parser.add_argument("--label", metavar="TEXT", help="only jobs with this label")
    parser.add_argument("--since", metavar="DUR", help="only jobs touched in the last DUR")
    parser.add_argument(
        "--fields", metavar="F", help="these columns: names as in --json, with commas"
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--limit", metavar="N", help=f"so many rows ({ROWS})")
    amount.add_argument("--all", action="store_true", help="every row")
    parser.set_defaults(run=run)


def run(
    queue: Queue,
    talk: Talk,
    *,
    state: str | None,
    queue_name: str | None,
    label: str | None,
    since: str | None,
    fields: str | None,
    limit: str | None,
    all: bool,
) -> int:
    """Print the table; more rows than asked for are announced, not hidden."""
    length_s: float | None = option("--since", values.duration, since)  # type: ignore[assignment]
    wanted: int | None = option("--limit", values.count, limit)  # type: ignore[assignment]
    if wanted is None and not (all or talk.quiet or talk.as_json):
        wanted = ROWS
    columns = _fields(fields)
    now = spec.now_ms()
    filters = {
        "state": state,
        "queue": option("--queue", values.name, queue_name),
        "label": option("--label", values.text, label),
        "since": None if length_s is None else now - round(length_s * 1000),
    }
    if talk.quiet and not talk.as_json:
        for job_id in queue.ids(wanted, **filters):
            talk.answer(job_id)
        return 0
    jobs = queue.jobs(None if wanted is None else wanted + 1, **filters)
    more = wanted is not None and len(jobs) > wanted
    _print(queue, talk, jobs[:wanted], columns, now)
    if more and limit is None:
        talk.warn(f"only the first {wanted} are shown. For the rest: queuectl list --all")
    return 0


def _fields(text: str | None) -> list[str]:
    """Check the names of columns; the empty list stands for the usual ones."""
    names = [] if text is None else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in JOB_FIELDS:
            raise UsageError(
                f"--fields: there is no field {values._shown(name)}",
                values.nearest(name, list(JOB_FIELDS)) or f"There are {', '.join(JOB_FIELDS)}",
            )
    return names


def _print(queue: Queue, talk: Talk, jobs: list[Job], fields: list[str], now: int) -> None:
    paused = queue.storage.paused_queues()
    told = [job_json(job, queue.place, paused) for job in jobs] if talk.as_json or fields else []
    if fields:
        told = [{name: job[name] for name in fields} for job in told]
    if talk.as_json:
        talk.json(told)
    elif not jobs:
        talk.tip("No jobs.")
    elif fields:
        rows = [[_cell(value) for value in job.values()] for job in told]
        talk.answer(
            table([name.upper() for name in dict.fromkeys(fields)], rows, paint=_painter(talk))
        )
    else:
        rows = [list(_row(job, now, paused)) for job in jobs]
        talk.answer(table(HEAD, rows, spare=SPARE, paint=_painter(talk)))


def _painter(talk: Talk) -> Callable[[str, str], str]:
    """Make what colours the cells of the column STATE."""

    def paint(column: str, cell: str) -> str:
        return talk.paint(cell, cell.partition(" ")[0]) if column == "STATE" else cell

    return paint


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _row(job: Job, now: int, paused: Iterable[str]) -> tuple[str, ...]:
    reason = waiting_for(job, paused)
    state = f"{job.state} ({reason})" if reason in ("held", "blocked", "paused") else job.state
    runs = f"{job.attempts}/{job.max_retries + 1}"
    return job.id, state, job.queue, runs, when(job, now), job.command


def when(job: Job, now: int) -> str:
    """Say when a job ended, started or will run."""
    if job.state in ("pending", "failed"):
        return moment(job.run_at, now) if job.run_at > now else f"since {moment(job.run_at, now)}"
    return moment(job.finished_at or job.started_at, now)
