"""`queuectl wait`: wait for jobs to end, woken by their end."""

from __future__ import annotations

from queuectl import values
from queuectl.commands.parsing import option
from queuectl.errors import NotFound
from queuectl.render import job_json, one_line, status_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.job import Job
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl wait 42 43                 until both have ended
  queuectl wait --queue build --timeout 10m
  queuectl wait --any 42 43           until one of them has ended
  queuectl wait                       until everything has ended
"""
TIMED_OUT = 124
ENDED_BADLY = 4
NOT_FOUND = 3
NAMED = 10  # ids in one line of talk


def arguments(parser: ArgumentParser) -> None:
    """Declare what `wait` takes."""
    parser.add_argument("ids", nargs="*", metavar="ID", help="a job's id (all unfinished jobs)")
    parser.add_argument("--queue", dest="queue_name", metavar="Q", help="only jobs of this queue")
    parser.add_argument("--any", action="store_true", help="only until one has ended")
    parser.add_argument("--timeout", metavar="DUR", help="give up after this long (exit 124)")
    parser.set_defaults(run=run)


def run(
    queue: Queue,
    talk: Talk,
    *,
    ids: list[str],
    queue_name: str | None,
    any: bool,
    timeout: str | None,
) -> int:
    """Print a line for each job that ends; the set is the one of the beginning."""
    timeout_s = option("--timeout", values.duration, timeout)
    wanted = option("--queue", values.name, queue_name)
    jobs, missing = _named(queue, talk, ids)
    if not ids:
        jobs = queue.storage.unfinished(wanted)  # type: ignore[arg-type]
    own = queue.own_job()
    jobs = [job for job in jobs if job.id != own and wanted in (None, job.queue)]
    _warn_unserved(queue, talk, jobs)
    statuses = {NOT_FOUND} if missing else set()
    for number, (job, ended) in enumerate(queue.wait(jobs, timeout_s)):  # type: ignore[arg-type]
        talk.progress("")
        if not ended:
            statuses.add(TIMED_OUT)
            break
        tell(queue, talk, job)
        if number + 1 < len(jobs):
            talk.progress(f"{number + 1} of {len(jobs)} have ended")
        if job.state in ("dead", "cancelled"):
            statuses.add(ENDED_BADLY)
        if any:
            break
    return min(statuses, default=0)


def tell(queue: Queue, talk: Talk, job: Job) -> None:
    """Print how one job ended."""
    if talk.as_json:
        talk.json(job_json(job, queue.place), flush=True)
    elif talk.quiet:
        talk.answer(job.id, flush=True)
    else:
        ended = one_line(status_text(job.exit_code, job.signal, job.error))
        talk.answer(f"{job.id}: {job.state} ({ended})", flush=True)


def _named(queue: Queue, talk: Talk, ids: list[str]) -> tuple[list[Job], bool]:
    """Look the named jobs up; give them, and whether one of them does not exist."""
    found, missing = [], False
    for job_id in dict.fromkeys(ids):
        try:
            found.append(queue.job(job_id))
        except NotFound as error:
            talk.error(error)
            missing = True
    return found, missing


def _warn_unserved(queue: Queue, talk: Talk, jobs: list[Job]) -> None:
    """Say at once what nobody will run."""
    waiting = {job.queue for job in jobs if job.state in ("pending", "failed")}
    unserved = sorted(name for name in waiting if not queue.is_served(name))
    if unserved:
        talk.warn(f"no worker serves {', '.join(unserved)}. Start one: queuectl worker start")
    held = [job.id for job in jobs if job.held]
    if held:
        named = " ".join(held[:NAMED]) + (" …" if len(held) > NAMED else "")
        talk.warn(f"{len(held)} held. To let them run: queuectl release {named}")
