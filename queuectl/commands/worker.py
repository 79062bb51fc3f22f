"""`queuectl worker`: start, run, stop and list workers."""

from __future__ import annotations

import math
import time

from queuectl import config, values
from queuectl.commands.parsing import add_actions, option
from queuectl.errors import QueueError, UsageError
from queuectl.render import moment, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Sequence

    from queuectl.api import Queue
    from queuectl.render import Talk
    from queuectl.worker.roster import Worker

EXAMPLES = """
examples:
  queuectl worker start --count 3           in the background; again adds more
  queuectl worker start --queue build,test  only jobs of these queues
  queuectl worker run                       in the foreground: systemd, Docker
  queuectl worker run --burst --for 55s     from cron, every minute
  queuectl worker stop                      running jobs finish first
  queuectl worker stop --timeout 5m         after that, they are ended
  queuectl worker list
  queuectl worker scale 4                   no more, no fewer
"""
HEAD = ("PID", "STATE", "QUEUES", "SINCE", "JOB", "COMMAND")
SPARE = ("QUEUES", "SINCE")  # what a narrow terminal does without, in this order
MAX_WORKERS = 1000
STOPPED_S = 2.0  # for shorter, it may be a debugger's doing


def arguments(parser: ArgumentParser) -> None:
    """Declare what `worker` takes."""
    add_actions(
        parser,
        {
            "start": ("start workers in the background", _start_arguments),
            "run": ("run workers in the foreground", _run_arguments),
            "stop": ("stop all workers of this queue file", _stop_arguments),
            "list": ("list workers", _list_arguments),
            "scale": ("set the background workers to exactly N", _scale_arguments),
        },
    )


def _start_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--count", metavar="N", default="1", help="how many workers (1)")
    parser.add_argument(
        "--queue", dest="queue_name", metavar="Q", help="only these queues, with commas (all)"
    )
    parser.set_defaults(run=start, creates=True)


def _run_arguments(parser: ArgumentParser) -> None:
    _start_arguments(parser)
    parser.add_argument(
        "--burst",
        action="store_true",
        help="leave when nothing is processing, runnable or backing off",
    )
    parser.add_argument(
        "--for", dest="for_text", metavar="DUR", help="start no job after this long"
    )
    parser.add_argument("--max-jobs", metavar="N", help="leave after so many starts")
    parser.set_defaults(run=run)


def _scale_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("count", metavar="N", help="how many; 0 is allowed")
    parser.add_argument(
        "--queue", dest="queue_name", metavar="Q", help="the workers of these queues (all)"
    )
    parser.set_defaults(run=scale, creates=True)


def _stop_arguments(parser: ArgumentParser) -> None:
    urgency = parser.add_mutually_exclusive_group()
    urgency.add_argument("--timeout", metavar="DUR", help="then end the jobs: TERM, grace, KILL")
    urgency.add_argument("--now", action="store_true", help="end the jobs at once")
    parser.add_argument("--no-wait", action="store_true", help="only say so; do not wait")
    parser.set_defaults(run=stop)


def _list_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(run=list_workers)


def start(queue: Queue, talk: Talk, *, count: str, queue_name: str | None) -> int:
    """Start a pool in the background; return when its workers are up."""
    wanted, queues = _prepare(queue, count, queue_name)
    queue.start_workers(wanted, queues)
    if talk.as_json:
        talk.json({"started": wanted})
    else:
        talk.answer(f"Started {wanted} {_workers(wanted)}.")
    return 0


def run(
    queue: Queue,
    talk: Talk,
    *,
    count: str,
    queue_name: str | None,
    burst: bool,
    for_text: str | None,
    max_jobs: str | None,
) -> int:
    """Run a pool in the foreground until it is stopped, or its time or its work is over."""
    for_s = option("--for", values.duration, for_text)
    jobs = option("--max-jobs", values.positive, max_jobs)
    wanted, queues = _prepare(queue, count, queue_name)

    def up(text: str) -> None:
        if text != "up":
            talk.error(QueueError(text))

    return queue.run_workers(
        wanted,
        queues,
        burst=burst,
        for_s=for_s,  # type: ignore[arg-type]
        max_jobs=jobs,  # type: ignore[arg-type]
        up=up,
    )


def scale(queue: Queue, talk: Talk, *, count: str, queue_name: str | None) -> int:
    """Set the background workers of that queue list to exactly N: fit for cron."""
    wanted, queues = _prepare(queue, count, queue_name, "N", least=0)
    before, after = queue.scale_workers(wanted, queues)
    if talk.as_json:
        talk.json({"before": before, "after": after})
    elif before == after:
        talk.answer(f"{after} {_workers(after)} as before.")
    else:
        talk.answer(f"{after} {_workers(after)}, {before} before.")
    return 0


def stop(queue: Queue, talk: Talk, *, timeout: str | None, now: bool, no_wait: bool) -> int:
    """Stop every worker of this queue file, foreground pools too."""
    grace_s = option("--timeout", values.duration, timeout)
    after_s = 0.0 if now else grace_s
    wait = not no_wait and config.inside_job() is None
    asked, left = queue.stop_workers(
        after_s,  # type: ignore[arg-type]
        wait,
        _waiting(talk),
    )
    talk.progress("")
    if talk.as_json:
        talk.json({"stopped": asked - len(left), "left": left})
    elif not asked:
        talk.answer("No workers are running.")
    elif not wait:
        talk.answer(f"Told {asked} {_workers(asked)} to stop.")
    else:
        talk.answer(f"Stopped {asked - len(left)} {_workers(asked - len(left))}.")
    if wait and left:
        pids = " ".join(map(str, left))
        stuck = "; ".join(job.stuck for job in queue.storage.processing() if job.stuck)
        why = f" ({stuck})" if stuck else ""
        raise QueueError(f"{len(left)} {_workers(len(left))} did not stop: pid {pids}{why}")
    return 0


def _waiting(talk: Talk) -> Callable[[Sequence[Worker], Sequence[int]], None]:
    """Make what shows who is waited for, and says once of each that is stopped that it is."""
    since: dict[int, float] = {}

    def show(left: Sequence[Worker], stopped: Sequence[int]) -> None:
        jobs = {worker.pid: f"job {worker.job.id}" for worker in left if worker.job}
        running = f": {', '.join(jobs.values())}" if jobs else ""
        talk.progress(f"waiting for {len(left)} {_workers(len(left))}{running}")
        now = time.monotonic()
        for pid in stopped:
            if now - since.setdefault(pid, now) >= STOPPED_S:
                since[pid] = math.inf
                talk.progress("")
                runs = f" and has {jobs[pid]}" if pid in jobs else ""
                talk.warn(f"process {pid} is stopped{runs}. To let it go on: kill -CONT {pid}")

    return show


def list_workers(queue: Queue, talk: Talk) -> int:
    """Print who runs what, since when."""
    from queuectl.spec import now_ms

    workers = queue.workers()
    if talk.as_json:
        talk.json([worker.as_json() for worker in workers])
    elif talk.quiet:
        for worker in workers:
            talk.answer(str(worker.pid))
    elif workers:
        now = now_ms()
        rows = [
            (
                str(worker.pid),
                worker.state,
                ",".join(worker.queues) or "all",
                moment(worker.job.started_at if worker.job else worker.started_at, now),
                worker.job.id if worker.job else "-",
                worker.job.command if worker.job else "-",
            )
            for worker in workers
        ]
        talk.answer(table(HEAD, rows, whole=("PID", "JOB"), spare=SPARE))
    else:
        talk.tip("No workers are running. Start one: queuectl worker start")
    return 0


def _prepare(
    queue: Queue, count: str, queue_name: str | None, what: str = "--count", least: int = 1
) -> tuple[int, str | None]:
    """Check what a pool is to be."""
    job_id = config.inside_job()
    if job_id is not None:
        raise UsageError(f"workers cannot be started from inside a job (job {job_id})")
    wanted = option(what, lambda typed: values.whole(typed, least, MAX_WORKERS), count)
    names = option("--queue", values.names, queue_name)
    queue.check_settings()
    return int(wanted), ",".join(names) if names else None  # type: ignore[call-overload,arg-type]


def _workers(count: int) -> str:
    return "worker" if count == 1 else "workers"
