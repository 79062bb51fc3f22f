"""`queuectl prune`: remove jobs that have ended, and their logs."""

from __future__ import annotations

from queuectl import spec, values
from queuectl.commands.parsing import add_ids, confirm, each, option
from queuectl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl prune --older-than 7d --yes
  queuectl prune --state dead --older-than 90d -n     only count
  queuectl prune 42 43
"""
STATES = ("completed", "cancelled", "dead")


def arguments(parser: ArgumentParser) -> None:
    """Declare what `prune` takes."""
    add_ids(parser, optional=True)
    parser.add_argument("--older-than", metavar="DUR", help="only what ended longer ago")
    parser.add_argument("--state", choices=STATES, help="only this state (completed, cancelled)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only count")
    parser.set_defaults(run=run)


def run(
    queue: Queue,
    talk: Talk,
    *,
    ids: list[str],
    older_than: str | None,
    state: str | None,
    yes: bool,
    dry_run: bool,
) -> int:
    """Remove the named jobs, or those selected, and print how many; dead ones only if named so."""
    states = (state,) if state else STATES[:2]
    if ids:
        if older_than is not None:
            raise UsageError("name jobs, or select them with --older-than")
        return prune_named(queue, talk, ids, states, dry_run=dry_run)
    if older_than is None and state is None:
        raise UsageError("nothing is selected", "Say --older-than DUR, --state S, or name jobs")
    return prune_selected(queue, talk, states, older_than, yes=yes, dry_run=dry_run)


def prune_named(
    queue: Queue, talk: Talk, ids: list[str], states: tuple[str, ...], *, dry_run: bool
) -> int:
    """Remove these jobs, if they are in these states; print how many."""
    gone: list[str] = []

    def remove(job_id: str) -> None:
        gone.append(queue.prune(job_id, states, dry_run=dry_run))

    status = each(talk, ids, remove)
    say(talk, len(gone), dry_run=dry_run)
    return status


def prune_selected(
    queue: Queue,
    talk: Talk,
    states: tuple[str, ...],
    older_than: str | None,
    *,
    yes: bool,
    dry_run: bool,
) -> int:
    """Remove the jobs that ended in these states long enough ago; print how many."""
    age_s = option("--older-than", values.duration, older_than)
    before = None if age_s is None else spec.now_ms() - round(float(age_s) * 1000)  # type: ignore[arg-type]
    count = queue.count_ended(states, before)
    if count and not dry_run:
        confirm(f"Remove {count} {' and '.join(states)} jobs and their logs?", yes=yes)
        total = count
        count = queue.prune_ended(
            states, before, lambda done: talk.progress(f"{done} of {total} removed")
        )
        talk.progress("")
    say(talk, count, dry_run=dry_run)
    return 0


def say(talk: Talk, count: int, *, dry_run: bool) -> None:
    """Print how many jobs were, or would be, removed."""
    if talk.as_json:
        talk.json({"count": count, "dry_run": dry_run})
    elif talk.quiet:
        talk.answer(str(count))
    else:
        verb = "would be removed" if dry_run else "removed"
        talk.answer(f"{count} {'job' if count == 1 else 'jobs'} {verb}.")
