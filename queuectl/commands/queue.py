"""`queuectl queue`: pause queues, and limit how much of them runs at once."""

from __future__ import annotations

from queuectl import values
from queuectl.commands.parsing import add_actions, option
from queuectl.errors import UsageError
from queuectl.lifecycle import State
from queuectl.render import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable, Mapping

    from queuectl.api import Queue
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl queue list
  queuectl queue set build --concurrency 2   never more than two at once
  queuectl queue set gpu --slots 0,0,1,1     two jobs on each of two devices
  queuectl queue set mail --rate 10/1m       no minute with more than ten starts
  queuectl queue set mail --rate none
  queuectl queue pause build
  queuectl queue pause                         all, until: queuectl queue resume
  queuectl queue resume build
"""
HEAD = ("QUEUE", "STATE", "CONCURRENCY", "RATE", "WAITING", "RUNNING", "DEAD")
SPARE = ("DEAD", "RATE")  # what a narrow terminal does without, in this order
MAX_SLOTS = 10_000


def arguments(parser: ArgumentParser) -> None:
    """Declare what `queue` takes."""
    add_actions(
        parser,
        {
            "list": ("list the queues and their limits", _list_arguments),
            "set": ("limit a queue", _set_arguments),
            "pause": ("start no more jobs of a queue", _pause_arguments),
            "resume": ("start jobs of a queue again", _resume_arguments),
        },
    )


def _list_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(run=list_queues)


def _set_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="Q", help="the queue")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--concurrency", metavar="N", help="so many slots, called 0 to N-1, or none")
    size.add_argument("--slots", metavar="LIST", help="the names of the slots, best first, or none")
    parser.add_argument("--rate", metavar="N/DUR", help="at most N starts in any DUR, or none")
    parser.set_defaults(run=set_limits, creates=True)


def _pause_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="Q", help="the queue (all)")
    parser.set_defaults(run=pause, creates=True)


def _resume_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="Q", help="the queue (all)")
    parser.set_defaults(run=resume)


def list_queues(queue: Queue, talk: Talk) -> int:
    """Print every known queue."""
    found = queue.queues()
    if talk.as_json:
        talk.json([as_json(each) for each in found])
    elif talk.quiet:
        for each in found:
            talk.answer(str(each["name"]))
    elif found:
        talk.answer(_table(found))
    else:
        talk.tip("No queues yet: the first job makes one.")
    return 0


def set_limits(
    queue: Queue,
    talk: Talk,
    *,
    name: str,
    concurrency: str | None,
    slots: str | None,
    rate: str | None,
) -> int:
    """Set or lift the limits of a queue."""
    known = str(option("Q", values.name, name))
    if concurrency is None and slots is None and rate is None:
        raise UsageError("nothing to set", "Say --concurrency N, --slots LIST or --rate N/DUR")
    allowed = option("--rate", _rate, rate)
    names = option("--slots", _slots, slots)
    count = option("--concurrency", values.optional(_concurrency), concurrency)
    if concurrency is not None:
        names = None if count is None else [str(number) for number in range(int(str(count)))]
    if concurrency is not None or slots is not None:
        for job_id, needs in queue.limit(known, names or None):  # type: ignore[arg-type]
            talk.warn(f"job {job_id} needs {needs} slots: it can never run now")
    if rate is not None:
        queue.limit_rate(known, *(allowed or (None, None)))  # type: ignore[misc]
    return _tell(queue, talk, [known])


def pause(queue: Queue, talk: Talk, *, name: str | None) -> int:
    """Pause a queue, or all: those that are named later, too."""
    known = option("Q", values.name, name)
    changed = queue.pause(known)  # type: ignore[arg-type]
    if name and not changed:
        talk.warn(f"queue {name} is paused already")
    elif not name and not talk.as_json and not talk.quiet:
        talk.answer("All queues are paused, also those that are named later.")
    return _tell(queue, talk, [name] if name else changed)


def resume(queue: Queue, talk: Talk, *, name: str | None) -> int:
    """Resume a queue, or all."""
    known = option("Q", values.name, name)
    changed = queue.resume(known)  # type: ignore[arg-type]
    if name and not changed:
        talk.warn(f"queue {name} is not paused")
    elif not name and not talk.as_json and not talk.quiet:
        talk.answer("All queues are open.")
    return _tell(queue, talk, [name] if name else changed)


def as_json(found: Mapping[str, object]) -> dict[str, object]:
    """Give the queue object of the contract."""
    counts: Mapping[str, int] = found["counts"]  # type: ignore[assignment]
    return {
        "name": found["name"],
        "paused": found["paused"],
        "concurrency": found["concurrency"],
        "slots": found["slots"],
        "rate": _rate_text(found),
        "jobs": {str(state): counts.get(state, 0) for state in State},
    }


def _tell(queue: Queue, talk: Talk, names: list[str]) -> int:
    rows = [found for found in queue.queues() if found["name"] in names]
    if talk.as_json:
        talk.json([as_json(found) for found in rows])
    elif talk.quiet:
        for name in names:
            talk.answer(name)
    elif rows:
        talk.answer(_table(rows))
    return 0


def _table(found: Iterable[Mapping[str, object]]) -> str:
    return table(HEAD, [_row(each) for each in found], whole=("QUEUE",), spare=SPARE)


def _row(found: Mapping[str, object]) -> tuple[str, ...]:
    counts: Mapping[str, int] = found["counts"]  # type: ignore[assignment]
    slots: list[str] | None = found["slots"]  # type: ignore[assignment]
    limit = "none" if slots is None else str(len(slots))
    if slots and slots != [str(number) for number in range(len(slots))]:
        limit = f"{limit} ({','.join(slots)})"
    waiting = counts.get("pending", 0) + counts.get("failed", 0)
    return (
        str(found["name"]),
        "paused" if found["paused"] else "open",
        limit,
        _rate_text(found) or "none",
        str(waiting),
        str(counts.get("processing", 0)),
        str(counts.get("dead", 0)),
    )


def _rate_text(found: Mapping[str, object]) -> str | None:
    if found["rate_starts"] is None:
        return None
    return f"{found['rate_starts']}/{found['rate_window_ms'] / 1000:g}s"  # type: ignore[operator]


def _rate(value: object) -> object:
    """Take N/DUR; give the starts and the window in seconds, or the empty tuple for none."""
    if value == "none":
        return ()
    starts, _, window = str(value).partition("/")
    return values.positive(starts), values.length(window)


def _slots(value: object) -> object:
    return [] if value == "none" else values.names(value)


def _concurrency(value: object) -> int:
    return values.whole(value, 1, MAX_SLOTS)
