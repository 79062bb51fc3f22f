"""`queuectl dlq`: the dead letter queue, where jobs go that are out of retries."""

from __future__ import annotations

from queuectl import logs, spec, values
from queuectl.commands.parsing import add_actions, add_ids, each, option
from queuectl.commands.prune import prune_named, prune_selected
from queuectl.errors import NotFound, UsageError
from queuectl.render import cut, job_json, moment, one_line, table, terminal_width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.job import Job
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl dlq list
  queuectl dlq list --group        by cause, the most frequent first
  queuectl dlq retry --group 5f0c11aa
  queuectl dlq retry 42            back in line, attempts start again
  queuectl dlq retry --all --queue build
  queuectl dlq purge --older-than 30d --yes
"""
GROUP_HEAD = ("GROUP", "COUNT", "EXIT", "COMMAND", "LAST LINE")
HEAD = ("ID", "QUEUE", "RUNS", "DIED", "EXIT", "COMMAND", "LAST LINE")
SPARE = ("QUEUE", "RUNS", "DIED")  # what a narrow terminal does without, in this order
COMMAND_PART = 0.25  # of a terminal's width, so that the last line has room beside it
EXIT_PART = 0.14


def arguments(parser: ArgumentParser) -> None:
    """Declare what `dlq` takes."""
    add_actions(
        parser,
        {
            "list": ("list the dead jobs", _list_arguments),
            "retry": ("put dead jobs back in line", _retry_arguments),
            "purge": ("delete dead jobs and their logs", _purge_arguments),
        },
    )


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--queue", dest="queue_name", metavar="Q", help="only of this queue")
    parser.add_argument("--group", action="store_true", help="put together what died alike")
    parser.set_defaults(run=list_dead)


def _retry_arguments(parser: ArgumentParser) -> None:
    add_ids(parser, optional=True)
    parser.add_argument("--all", action="store_true", help="every dead job")
    parser.add_argument(
        "--queue", dest="queue_name", metavar="Q", help="every dead job of this queue"
    )
    parser.add_argument("--group", metavar="G", help="the dead jobs of this cause")
    parser.set_defaults(run=retry)


def _purge_arguments(parser: ArgumentParser) -> None:
    add_ids(parser, optional=True)
    parser.add_argument("--all", action="store_true", help="every dead job")
    parser.add_argument("--older-than", metavar="DUR", help="only what died longer ago")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only count")
    parser.set_defaults(run=purge)


def list_dead(queue: Queue, talk: Talk, *, queue_name: str | None, group: bool) -> int:
    """Print the dead jobs, each with how it ended and its last line of output; or the causes."""
    if group:
        return _list_groups(queue, talk, queue_name)
    of_it = {"state": "dead", "queue": option("--queue", values.name, queue_name)}
    if talk.quiet and not talk.as_json:
        for job_id in queue.ids(**of_it):  # type: ignore[arg-type]
            talk.answer(job_id)
        return 0
    jobs = queue.jobs(**of_it)  # type: ignore[arg-type]
    now = spec.now_ms()
    if talk.as_json:
        talk.json([job_json(job, queue.place) for job in jobs])
    elif jobs:
        talk.answer(table(HEAD, [_row(queue, job, now) for job in jobs], spare=SPARE))
    else:
        talk.tip("The dead letter queue is empty.")
    return 0


def _list_groups(queue: Queue, talk: Talk, queue_name: str | None) -> int:
    causes = queue.causes(option("--queue", values.name, queue_name))  # type: ignore[arg-type]
    if talk.as_json:
        talk.json([cause.as_json() for cause in causes])
    elif talk.quiet:
        for cause in causes:
            talk.answer(cause.group)
    elif causes:
        rows = [
            (
                cause.group,
                str(len(cause.ids)),
                "-" if cause.exit_code is None else str(cause.exit_code),
                _cut(cause.command, COMMAND_PART),
                cause.last_line,
            )
            for cause in causes
        ]
        talk.answer(table(GROUP_HEAD, rows, whole=("GROUP",)))
    else:
        talk.tip("The dead letter queue is empty.")
    return 0


def retry(
    queue: Queue,
    talk: Talk,
    *,
    ids: list[str],
    all: bool,
    queue_name: str | None,
    group: str | None,
) -> int:
    """Put dead jobs back: the named ones, a group, or all (of a queue); print their ids."""
    if bool(ids) == bool(all or queue_name or group):
        raise UsageError(
            "name jobs, or say --all, --queue Q or --group G", "To see them: queuectl dlq list"
        )
    back: list[Job] = []
    if group:
        ids = _members(queue, group, queue_name)
    if ids:
        status = each(talk, ids, lambda job_id: back.extend(queue.retry(job_id)))
    else:
        status = 0
        back += queue.retry(queue=str(option("--queue", values.name, queue_name) or "") or None)
    if talk.as_json:
        paused = queue.storage.paused_queues()
        talk.json([job_json(queue.job(job.id), queue.place, paused) for job in back])
    else:
        for job in back:
            talk.answer(job.id)
    for job in back:
        fallen = queue.storage.cancelled_children(job)
        if fallen:
            ids_text = " ".join(fallen[:20])
            talk.warn(
                f"{len(fallen)} jobs that waited for job {job.id} stay cancelled. "
                f"To run them again: queuectl rerun {ids_text}"
            )
    return status


def purge(
    queue: Queue,
    talk: Talk,
    *,
    ids: list[str],
    all: bool,
    older_than: str | None,
    yes: bool,
    dry_run: bool,
) -> int:
    """Remove dead jobs with their logs and print how many."""
    if (bool(ids) + bool(all or older_than)) != 1:
        raise UsageError("name jobs, or say --all or --older-than DUR")
    if ids:
        return prune_named(queue, talk, ids, ("dead",), dry_run=dry_run)
    return prune_selected(queue, talk, ("dead",), older_than, yes=yes, dry_run=dry_run)


def _members(queue: Queue, group: str, queue_name: str | None) -> list[str]:
    wanted = option("--queue", values.name, queue_name)
    for cause in queue.causes(wanted):  # type: ignore[arg-type]
        if cause.group == group:
            return list(cause.ids)
    raise NotFound(
        f"there is no group {group!a} of dead jobs", "To see them: queuectl dlq list --group"
    )


def _cut(text: str, part: float) -> str:
    """Cut a text to a part of the terminal's width; where there is none, leave it whole."""
    width = terminal_width()
    return cut(one_line(text[:1000]), max(4, round(width * part))) if width else text


def _row(queue: Queue, job: Job, now: int) -> tuple[str, ...]:
    ended = job.exit_code if job.exit_code is not None else f"signal {job.signal}"
    how = str(ended) if job.exit_code is not None or job.signal else (job.error or "-")
    return (
        job.id,
        job.queue,
        f"{job.attempts}/{job.max_retries + 1}",
        moment(job.finished_at, now),
        _cut(how, EXIT_PART),
        _cut(job.command, COMMAND_PART),
        logs.last_line(queue.place.log(job.id)) or job.error or "",
    )
