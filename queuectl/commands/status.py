"""`queuectl status`: how many jobs are in each state, who works, and whether all is well."""

from __future__ import annotations

import sys
from contextlib import contextmanager

from queuectl import spec, values
from queuectl.commands.parsing import option
from queuectl.errors import UsageError
from queuectl.render import (
    cell_width,
    cut,
    length,
    one_line,
    pause,
    terminal_height,
    terminal_width,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator

    from queuectl.api import Queue
    from queuectl.health import Status
    from queuectl.render import Talk

EXAMPLES = """
examples:
  queuectl status
  queuectl status --watch 5
  queuectl status --json | jq .jobs.dead
  queuectl status --check --max-age 10m   exit 1 if something is wrong
"""
_TAKE = "\x1b[?1049h\x1b[?25l"  # a screen of our own, without a cursor
_GIVE = "\x1b[?25h\x1b[?1049l"


def arguments(parser: ArgumentParser) -> None:
    """Declare what `status` takes."""
    parser.add_argument(
        "--watch", nargs="?", const="2", metavar="SEC", help="again every SEC seconds (2)"
    )
    parser.add_argument(
        "--check", action="store_true", help="exit 1 where jobs wait in vain or cannot be recorded"
    )
    parser.add_argument(
        "--max-age", metavar="DUR", help="with --check: a runnable job that waits longer is wrong"
    )
    parser.set_defaults(run=run)


def run(queue: Queue, talk: Talk, *, watch: str | None, check: bool, max_age: str | None) -> int:
    """Print a line per state, then the workers, the oldest wait and the rate."""
    every_s: float | None = option("--watch", values.length, watch)  # type: ignore[assignment]
    oldest_s: float | None = option("--max-age", values.duration, max_age)  # type: ignore[assignment]
    if max_age is not None and not check:
        raise UsageError("--max-age goes with --check")
    if every_s is not None and check:
        raise UsageError("--check looks once; leave out --watch")
    if every_s is not None:
        _watch(queue, talk, every_s)
    status = queue.status()
    problems = queue.problems(oldest_s) if check else []
    if talk.as_json:
        more = {"healthy": not problems, "problems": problems} if check else {}
        talk.json({**as_json(status), **more})
    else:
        for line in lines(talk, status):
            talk.answer(line)
        for problem in problems:
            talk.answer(f"{talk.paint('unhealthy', 'dead')}: {one_line(problem)}")
        if check and not problems:
            talk.answer(f"{talk.paint('healthy', 'completed')}")
    return 1 if problems else 0


def as_json(status: Status) -> dict[str, object]:
    """Give the status object."""
    rate = status.rate_per_s
    return {
        "jobs": status.jobs,
        "workers": [worker.as_json() for worker in status.workers],
        "oldest_wait_s": status.oldest_wait_s,
        "rate_per_minute": None if rate is None else round(rate * 60, 3),
        "drain_s": status.drain_s,
        "paused": status.paused,
    }


def lines(talk: Talk, status: Status) -> list[str]:
    """Give the status as lines for people."""
    told = [f"{talk.paint(state, state)}: {count}" for state, count in status.jobs.items()]
    busy = sum(worker.job is not None for worker in status.workers)
    told.append(f"workers: {len(status.workers)} ({busy} busy)")
    now = spec.now_ms()
    for worker in status.workers:
        head = f"  pid {worker.pid}  {worker.state:<8}  "
        if worker.job:
            head += f"job {worker.job.id} "
            since = length((now - (worker.job.started_at or now)) / 1000)
            doing = f"for {since}: {worker.job.command}"
        else:
            doing = f"for {','.join(worker.queues)}" if worker.queues else "for all queues"
        width = terminal_width()
        line = head + one_line(doing)
        told.append(cut(line, max(width, len(head) + 1)) if width else line)
    if status.paused:
        told.append(f"paused: {', '.join(status.paused)}")
    if status.oldest_wait_s is not None:
        told.append(f"oldest wait: {length(status.oldest_wait_s)}")
    if status.rate_per_s is not None:
        told.append(f"rate: {status.rate_per_s * 60:.1f} jobs a minute")
    if status.drain_s is not None:
        told.append(f"drained in: about {length(status.drain_s)}")
    return told


def _watch(queue: Queue, talk: Talk, every_s: float) -> None:
    """Show the status again and again, until somebody ends it."""
    drawn = not talk.as_json and sys.stdout is not None and sys.stdout.isatty()
    with _screen() if drawn else _no_screen():
        while True:
            status = queue.status()
            if talk.as_json:
                talk.json(as_json(status), flush=True)
            elif drawn:
                _draw(lines(talk, status), every_s)
            else:
                talk.answer("\n".join([*lines(talk, status), ""]), flush=True)
            if drawn:
                _sleep(every_s)
            else:
                pause(every_s)


def _sleep(seconds: float) -> None:
    """Wait until it is time for the next frame; on Ctrl-Z, stop with the old screen in view."""
    from queuectl.worker.signals import stop_here, stop_wanted

    if stop_wanted(seconds):
        _write(_GIVE)
        stop_here()
        _write(_TAKE)


@contextmanager
def _screen() -> Iterator[None]:
    """Take a screen of our own, without a cursor; give the old one back, however this ends."""
    from queuectl.worker.signals import ending_softly, holding_stops

    with ending_softly(), holding_stops():
        try:
            _write(_TAKE)
            yield
        finally:
            _write(_GIVE)


@contextmanager
def _no_screen() -> Iterator[None]:
    yield


def _draw(told: list[str], every_s: float) -> None:
    """Write over what is there, line by line: nothing is cleared first, so nothing flickers."""
    head = f"queuectl, every {length(every_s)}; Ctrl-C ends"
    shown = _fitting([head, "", *told])
    _write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in shown) + "\x1b[J")


def _fitting(told: list[str]) -> list[str]:
    """Give the lines for which the terminal is high enough; a long id makes two of one."""
    room, width = terminal_height() or 24, terminal_width() or 80
    shown = []
    for line in told:
        room -= max(1, -(-cell_width(line) // width))
        if room < 0:
            break
        shown.append(line)
    return shown


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
