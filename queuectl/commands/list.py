"""`queuectl list`: what is processing, what runs next, what ended last."""

from __future__ import annotations

from queuectl import spec, values
from queuectl.commands.parsing import option
from queuectl.lifecycle import State
from queuectl.render import job_json, moment, table, waiting_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable

    from queuectl.api import Queue
    from queuectl.job import Job
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl list                              the 50 that matter most now
  queuectl list --state dead --queue build
  queuectl list --label nightly --all -q     only the ids
"""
ROWS = 50
HEAD = ("ID", "STATE", "QUEUE", "RUNS", "WHEN", "COMMAND")


def arguments(parser: ArgumentParser) -> None:
    """Declare what `list` takes."""
    parser.add_argument(
        "--state", choices=[str(state) for state in State], help="only jobs in this state"
    )
    parser.add_argument("--queue", dest="queue_name", metavar="Q", help="only jobs of this queue")
    parser.add_argument("--label", metavar="TEXT", help="only jobs with this label")
    parser.add_argument("--since", metavar="DUR", help="only jobs touched in the last DUR")
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
    limit: str | None,
    all: bool,
) -> int:
    """Print the table; more rows than asked for are announced, not hidden."""
    length_s = option("--since", values.duration, since)
    wanted = option("--limit", values.count, limit)
    if wanted is None and not (all or talk.quiet or talk.as_json):
        wanted = ROWS
    now = spec.now_ms()
    jobs = queue.jobs(
        limit=None if wanted is None else int(wanted) + 1,  # type: ignore[call-overload]
        state=state,
        queue=option("--queue", values.name, queue_name),
        label=label,
        since=None if length_s is None else now - round(float(length_s) * 1000),  # type: ignore[arg-type]
    )
    more = wanted is not None and len(jobs) > int(wanted)  # type: ignore[call-overload]
    _print(queue, talk, jobs[: int(wanted)] if more else jobs, now)  # type: ignore[call-overload]
    if more and limit is None:
        talk.warn(f"only the first {wanted} are shown. For the rest: queuectl list --all")
    return 0


def _print(queue: Queue, talk: Talk, jobs: list[Job], now: int) -> None:
    paused = queue.storage.paused_queues()
    if talk.as_json:
        talk.json([job_json(job, queue.place, paused) for job in jobs])
    elif talk.quiet:
        for job in jobs:
            talk.answer(job.id)
    elif jobs:
        talk.answer(table(HEAD, [_row(job, now, paused) for job in jobs]))
    else:
        talk.tip("No jobs.")


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
