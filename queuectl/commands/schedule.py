"""`queuectl schedule`: jobs that come again, by a cron line or every so often."""

from __future__ import annotations

import os

from queuectl import recurring, spec, values
from queuectl.commands import enqueue
from queuectl.commands.parsing import Intermixed, add_actions, each, option
from queuectl.errors import UsageError
from queuectl.render import (
    beginning,
    job_json,
    length,
    local_stamp,
    moment,
    next_ticks,
    one_line,
    schedule_json,
    stamp,
    table,
    terminal_width,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable

    from queuectl.api import Queue
    from queuectl.job import Schedule
    from queuectl.render import Talk

TAKES_EXACT = "add"  # only this action has a command, whose words may follow `--`

EXAMPLES = """
examples:
  queuectl schedule add nightly --cron "0 3 * * *" "backup /srv"
  queuectl schedule add poll --every 90s --timeout 1m -- ./poll.sh --quiet
  queuectl schedule add am --cron "30 8 * * mon-fri" --tz Europe/Berlin "make"
  queuectl schedule add x --cron "0 2 * * *" --preview 5     only show when
  queuectl schedule list
  queuectl schedule show nightly
  queuectl schedule run nightly           once more, now; prints the job's id
  queuectl schedule pause nightly
  queuectl schedule resume nightly
  queuectl schedule remove nightly poll
"""
HEAD = ("NAME", "WHEN", "ZONE", "STATE", "LAST", "NEXT", "QUEUE", "COMMAND")
SPARE = ("QUEUE", "ZONE", "LAST", "STATE")  # what a narrow terminal does without, in this order
TYPED = "queuectl schedule add NAME --cron …"
MAX_PREVIEW = 10_000


def arguments(parser: ArgumentParser) -> None:
    """Declare what `schedule` takes."""
    add_actions(
        parser,
        {
            "add": ("enqueue a command again and again", _add_arguments),
            "list": ("list the schedules", _list_arguments),
            "show": ("show everything about one schedule", _show_arguments),
            "remove": ("remove schedules; their jobs in line stay", _names_arguments(remove)),
            "pause": ("fire no more", _names_arguments(pause)),
            "resume": ("fire again, from the next tick on", _names_arguments(resume)),
            "run": ("enqueue its job once, now", _run_arguments),
        },
        Intermixed,
    )


def _add_arguments(parser: ArgumentParser) -> None:
    parser.usage = (
        'queuectl schedule add NAME --cron "M H D M W" | --every DUR [flags]\n       '
        '"COMMAND" | JSON | - | -- PROGRAM [ARG…]'
    )
    parser.add_argument("words", nargs="*", metavar="NAME COMMAND", help="what and what for")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--cron", metavar="LINE", help="minute hour day month weekday, or @daily")
    when.add_argument("--every", metavar="DUR", help="every so often from now on: 90s, 1h30m, 2d")
    parser.add_argument("--tz", metavar="ZONE", help="whose clock --cron means (the local one)")
    parser.add_argument(
        "--overlap", metavar="skip|queue", help="a tick while its last job is unfinished (skip)"
    )
    parser.add_argument(
        "--catchup", metavar="none|once", help="ticks that nobody was there for (once)"
    )
    parser.add_argument("--replace", action="store_true", help="take the place of one so named")
    parser.add_argument("--preview", metavar="N", help="print the next N instants, store nothing")
    enqueue.add_options(parser, recurring.ONCE_ONLY)
    parser.set_defaults(run=add, creates=True)


def _list_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(run=list_schedules)


def _show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a schedule")
    parser.set_defaults(run=show)


def _names_arguments(act: Callable[..., int]) -> Callable[[ArgumentParser], None]:
    def declare(parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="+", metavar="NAME", help="a schedule")
        parser.set_defaults(run=act)

    return declare


def _run_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a schedule")
    parser.set_defaults(run=run)


def explain_unknown(unknown: list[str], typed: list[str]) -> tuple[str, str] | None:
    """Explain a flag behind the command: most often the command was not quoted."""
    if len(typed) < 3 or unknown[0] in typed[:2]:
        return None
    return enqueue.quote(typed[1:], TYPED), ""


def add(
    queue: Queue,
    talk: Talk,
    *,
    words: list[str],
    exact: list[str] | None,
    replace: bool,
    preview: str | None,
    **flags: object,
) -> int:
    """Store a schedule, or only show when it would fire."""
    asked = {key: flags.pop(key) for key in recurring.RHYTHM}
    rhythm = recurring.check(asked, enqueue.flag_of)
    options = spec.check(enqueue.options(flags), enqueue.flag_of)
    name = str(option("NAME", values.name, words[0])) if words else None
    if preview is not None:
        return _preview(talk, rhythm, preview)
    if name is None:
        raise UsageError("there is no name", f'Give one: {TYPED} "make test"')
    options |= enqueue.what(words[1:], exact, TYPED)
    stored = queue.schedules.add(name, replace=replace, **rhythm, **options)  # type: ignore[arg-type]
    if talk.as_json:
        talk.json(schedule_json(stored))
    else:
        talk.answer(name if talk.quiet else f"{name}: {_next_words(stored)}.")
    _remark(queue, talk, str(options.get("queue", "default")))
    return 0


def _preview(talk: Talk, rhythm: dict[str, object], preview: str) -> int:
    count = int(str(option("--preview", values.positive, preview)))
    if count > MAX_PREVIEW:
        raise UsageError(f"--preview is at most {MAX_PREVIEW}")
    found = recurring.preview(rhythm, count, spec.now_ms())
    if talk.as_json:
        talk.json([stamp(instant) for instant in found])
    else:
        for instant in found:
            talk.answer(local_stamp(instant, str(rhythm["tz"])))
    return 0


def list_schedules(queue: Queue, talk: Talk) -> int:
    """Print every schedule."""
    found = queue.schedules.all()
    now = spec.now_ms()
    if talk.as_json:
        talk.json([schedule_json(schedule) for schedule in found])
    elif talk.quiet:
        for schedule in found:
            talk.answer(schedule.name)
    elif found:
        rows = [_row(schedule, now) for schedule in found]
        talk.answer(table(HEAD, rows, whole=("NAME",), spare=SPARE))
    else:
        talk.tip('No schedules. Add one: queuectl schedule add NAME --cron "0 3 * * *" "make"')
    return 0


def show(queue: Queue, talk: Talk, *, name: str) -> int:
    """Print everything about one schedule, and when it fires next."""
    schedule = queue.schedules.one(name)
    facts = schedule_json(schedule)
    if talk.as_json:
        talk.json(facts)
        return 0
    told = {
        "name": schedule.name,
        "command": facts["command"],
        "when": f"{_when(schedule)} ({schedule.tz})",
        "state": "paused" if schedule.paused else "on",
        "overlap": schedule.overlap,
        "catchup": schedule.catchup,
        "queue": f"{facts['queue']}, priority {facts['priority']}",
        "label": facts["label"],
        "timeout": length(facts["timeout_s"]) if facts["timeout_s"] else None,  # type: ignore[arg-type]
        "directory": os.fsdecode(schedule.cwd),
        "last": local_stamp(schedule.last_at, schedule.tz) if schedule.last_at else None,
    }
    width = terminal_width()
    for key, value in told.items():
        if value:
            text = one_line(str(value))
            if width and key in ("command", "label"):
                text = beginning(str(value), max(8, 3 * width - 13))
            talk.answer(f"{key:<12} {text}")
    for instant in next_ticks(schedule):
        talk.answer(f"{'next':<12} {local_stamp(instant, schedule.tz)}")
    return 0


def remove(queue: Queue, talk: Talk, *, names: list[str]) -> int:
    """Remove schedules."""
    return _each(queue, talk, names, queue.schedules.remove, "Removed")


def pause(queue: Queue, talk: Talk, *, names: list[str]) -> int:
    """Pause schedules."""

    def act(name: str) -> None:
        if not queue.schedules.pause(name):
            talk.warn(f"schedule {name} is paused already")

    return _each(queue, talk, names, act, "Paused")


def resume(queue: Queue, talk: Talk, *, names: list[str]) -> int:
    """Resume schedules."""

    def act(name: str) -> None:
        if not queue.schedules.resume(name):
            talk.warn(f"schedule {name} is not paused")

    return _each(queue, talk, names, act, "Resumed")


def run(queue: Queue, talk: Talk, *, name: str) -> int:
    """Enqueue the job of a schedule now and print its id."""
    job_id = queue.schedules.run(name)
    job = queue.job(job_id)
    if talk.as_json:
        talk.json(job_json(job, queue.place, queue.storage.paused_queues()))
    else:
        talk.answer(job_id)
    _remark(queue, talk, job.queue)
    return 0


def _each(queue: Queue, talk: Talk, names: list[str], act: Callable[[str], None], done: str) -> int:
    """Do a thing to each named schedule and say so; give the exit status."""
    changed: list[dict[str, object]] = []

    def do(name: str) -> None:
        before = queue.schedules.one(name)
        act(name)
        changed.append(schedule_json(before if done == "Removed" else queue.schedules.one(name)))
        if not talk.as_json:
            talk.answer(name if talk.quiet else f"{done} schedule {name}.")

    status = each(talk, names, do)
    if talk.as_json:
        talk.json(changed)
    return status


def _row(schedule: Schedule, now: int) -> tuple[str, ...]:
    facts = schedule_json(schedule)
    return (
        schedule.name,
        _when(schedule),
        schedule.tz,
        "paused" if schedule.paused else "on",
        moment(schedule.last_at, now),
        "-" if schedule.paused else moment(schedule.next_at, now),
        str(facts["queue"]),
        str(facts["command"]),
    )


def _when(schedule: Schedule) -> str:
    return schedule.cron or f"every {length(schedule.every_s)}"


def _next_words(schedule: Schedule) -> str:
    if schedule.paused:
        return "paused"
    if schedule.next_at is None:
        return "never again"
    return f"next at {local_stamp(schedule.next_at, schedule.tz)} ({schedule.tz})"


def _remark(queue: Queue, talk: Talk, name: str) -> None:
    """Say where nobody will fire it, or run its jobs."""
    if queue.is_served(name):
        return
    if queue.workers():
        talk.warn(f"no worker serves the queue {name}")
    else:
        talk.warn("no worker pool is alive: nothing fires until one is started")
    talk.tip("Start one: queuectl worker start")
