"""How things look: the answer and the talk, JSON, tables, times, and escaping for the terminal."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from queuectl.errors import QueueError
    from queuectl.job import Job, Run, Schedule
    from queuectl.place import Place


class Talk:
    """Where words go: the answer to stdout, warnings and tips to stderr."""

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False, color: str = ""
    ) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._tips = not quiet and (verbose or _is_terminal(sys.stderr))
        self._color = color or "auto"

    def answer(self, text: str, *, flush: bool = False) -> None:
        """Print one line of the answer. Raises OSError where stdout is closed or full."""
        if sys.stdout is None:
            raise OSError("standard output is closed")
        print(text, flush=flush)

    def json(self, value: object, *, flush: bool = False) -> None:
        """Print the answer as one JSON value on one line."""
        import json

        self.answer(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=flush)

    def warn(self, text: str) -> None:
        """Print a warning, unless told to be quiet."""
        if not self.quiet:
            _print_error(f"queuectl: {one_line(text)}")

    def tip(self, text: str) -> None:
        """Print a tip, where a person reads it."""
        if self._tips:
            _print_error(one_line(text))

    def progress(self, text: str) -> None:
        """Show how far long work is, on one line of the terminal; empty takes it away again."""
        if not self.quiet and not self.as_json and _is_terminal(sys.stderr):
            # A line that the terminal breaks could not be taken away again.
            shown = cut(one_line(text), (terminal_width(2) or 80) - 1)
            print(f"\r\x1b[K{shown}", end="", file=sys.stderr, flush=True)

    def error(self, error: QueueError, where: str = "queuectl") -> None:
        """Print why it could not be done: one line, or one JSON object."""
        if self.as_json:
            import json

            told = {"code": error.code, "message": error.message, "hint": error.hint or None}
            _print_error(json.dumps({"error": told}))
        else:
            _print_error(f"{where}: {one_line(str(error))}")

    def paint(self, text: str, state: str) -> str:
        """Colour a word by the state it stands for, where colours are wanted."""
        code = _COLORS.get(state)
        return f"\x1b[{code}m{text}\x1b[0m" if code and self._colored() else text

    def _colored(self) -> bool:
        if self._color != "auto":
            return self._color == "always"
        return _is_terminal(sys.stdout)


_COLORS = {
    "pending": 33, "processing": 36, "completed": 32, "failed": 35, "dead": 31, "cancelled": 90,
}  # fmt: skip


# The fields of the job object, in its order.
JOB_FIELDS = (
    "id", "command", "state", "attempts", "max_retries", "created_at", "updated_at", "queue",
    "priority", "label", "unique", "after", "slots", "argv", "cwd", "run_at", "timeout_s",
    "backoff_base", "started_at", "finished_at", "duration_s", "exit_code", "signal", "error",
    "waiting_for", "run", "worker", "log_path",
)  # fmt: skip


def job_json(job: Job, place: Place, paused: Iterable[str] = ()) -> dict[str, object]:
    """Give the job object of the contract."""
    import json

    return {
        "id": job.id,
        "command": job.command,
        "state": job.state,
        "attempts": job.attempts,
        "max_retries": job.max_retries,
        "created_at": stamp(job.created_at),
        "updated_at": stamp(job.updated_at),
        "queue": job.queue,
        "priority": job.priority,
        "label": job.label,
        "unique": job.unique_key,
        "after": json.loads(job.after) if job.after else [],
        "slots": job.slots,
        "argv": json.loads(job.argv) if job.argv else None,
        "cwd": job.cwd.decode("utf-8", "backslashreplace"),
        "run_at": stamp(job.run_at),
        "timeout_s": job.timeout_s,
        "backoff_base": job.backoff_base,
        "started_at": stamp(job.started_at),
        "finished_at": stamp(job.finished_at),
        "duration_s": job.duration_s,
        "exit_code": job.exit_code,
        "signal": job.signal,
        "error": job.error if job.stuck is None else job.stuck,
        "waiting_for": waiting_for(job, paused),
        "run": job.run,
        "worker": str(job.worker) if job.worker else None,
        "log_path": place.log(job.id),
    }


def run_json(run: Run) -> dict[str, object]:
    """Give the object of one run in a job's history."""
    return {
        "run": run.run,
        "attempt": run.attempt,
        "started_at": stamp(run.started_at),
        "finished_at": stamp(run.finished_at),
        "duration_s": run.duration_s,
        "outcome": run.outcome,
        "exit_code": run.exit_code,
        "signal": run.signal,
        "error": run.error,
        "worker": str(run.worker),
        "cpu_s": run.cpu_s,
        "max_rss_bytes": run.max_rss_bytes,
        "left_behind": run.left_behind,
    }


def schedule_json(schedule: Schedule) -> dict[str, object]:
    """Give the object of a schedule."""
    import json

    template = json.loads(schedule.template)
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "every_s": schedule.every_s,
        "tz": schedule.tz,
        "command": template["command"],
        "queue": template["queue"],
        "paused": bool(schedule.paused),
        "last_at": stamp(schedule.last_at),
        "next": [stamp(instant) for instant in next_ticks(schedule)],
        "overlap": schedule.overlap,
        "catchup": schedule.catchup,
        "argv": json.loads(template["argv"]) if template["argv"] else None,
        "priority": template["priority"],
        "label": template["label"],
        "max_retries": template["max_retries"],
        "timeout_s": template["timeout_s"],
        "cwd": schedule.cwd.decode("utf-8", "backslashreplace"),
        "created_at": stamp(schedule.created_at),
    }


def next_ticks(schedule: Schedule, count: int = 5) -> list[int]:
    """Give the next instants at which a schedule fires; none where it is paused."""
    from itertools import islice

    from queuectl.recurring import upcoming

    if schedule.paused or schedule.next_at is None:
        return []
    try:
        return list(islice(upcoming(schedule, schedule.next_at - 1), count))
    except ValueError:  # its zone has gone from this machine
        return []


def local_stamp(instant: int, tz: str) -> str:
    """Write an instant as the clock of a zone shows it, with its distance from UTC."""
    from datetime import datetime

    from queuectl.cron import zone

    try:
        return datetime.fromtimestamp(instant // 1000, zone(tz)).isoformat()
    except ValueError:
        return stamp(instant) or "-"


def waiting_for(job: Job, paused: Iterable[str] = ()) -> str | None:
    """Name the reason why a waiting job is not runnable, or None."""
    if job.state not in ("pending", "failed"):
        return None
    if job.held:
        return "held"
    if job.waits:
        return "blocked"
    if job.queue in paused:
        return "paused"
    if job.run_at > time.time() * 1000:
        return "backoff" if job.state == "failed" else "scheduled"
    return None


def stamp(instant: int | None) -> str | None:
    """Write an instant (ms) as RFC 3339, UTC, with milliseconds."""
    if instant is None:
        return None
    seconds, ms = divmod(instant, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03d}Z"


def length(seconds: float | None) -> str:
    """Write a length for people: 0.3s, 12s, 3m05s, 2h10m, 4d3h."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    for unit, size, small, part in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{unit}{rest:02d}{small}" if rest else f"{whole // size}{unit}"
    return f"{whole}s"


def moment(instant: int | None, now: int) -> str:
    """Write an instant as people say it: "in 4s", "3m ago"."""
    if instant is None:
        return "-"
    distance = (instant - now) / 1000
    return f"in {length(distance)}" if distance > 0 else f"{length(-distance)} ago"


def status_text(exit_code: int | None, signal: int | None, error: str | None) -> str:
    """Say how a run ended: "exit 3", "signal 9 (SIGKILL)", or the reason."""
    parts = []
    if exit_code is not None:
        parts.append(f"exit {exit_code}")
    if signal is not None:
        from signal import Signals  # names only

        try:
            parts.append(f"signal {signal} ({Signals(signal).name})")
        except ValueError:
            parts.append(f"signal {signal}")
    if error:
        parts.append(error)
    return ", ".join(parts) or "-"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    *,
    whole: Container[str] = ("ID",),
    spare: Sequence[str] = (),
    paint: Callable[[str, str], str] = lambda column, cell: cell,
) -> str:
    """Lay out a table so that a line fits the terminal; without one nothing is cut.

    The columns in `whole` hold what people type: they are never cut, even where a line then gets
    too wide. The last column is cut first; where that is not enough, the columns in `spare` are
    left out one by one, then the widest are cut. `paint` colours a cell, given its column's name.
    """
    room = width if width is not None else terminal_width()
    cells = [[one_line(_bounded(cell, room)) for cell in row] for row in rows]
    columns = [list(column) for column in zip(head, *cells, strict=True)]
    columns, widths = _fitted(columns, room, whole, spare)
    lines: list[str] = []
    for row in zip(*columns, strict=True):
        line = []
        for column, cell, wide in zip(columns, row, widths, strict=True):
            shown = cut(cell, wide)
            padding = " " * (wide - cell_width(shown))
            colored = paint(column[0], shown) if lines else shown
            line.append(colored + (padding if column is not columns[-1] else ""))
        lines.append("  ".join(line).rstrip())
    return "\n".join(lines)


def pause(seconds: float) -> None:
    """Wait; raise BrokenPipeError where the reader of our output leaves meanwhile."""
    import select

    if sys.stdout is not None:
        sys.stdout.flush()
    poll = select.poll()
    poll.register(1, 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(seconds * 1000)):
        raise BrokenPipeError


LAST_COLUMN = 16  # what the last column should at least have
LEAST = 4  # a column that would get less than this says nothing


def _bounded(cell: str, room: int | None) -> str:
    """Drop what no terminal of that width shows: a megabyte need not be measured for it."""
    bound = max(1000, 4 * (room or 0))
    return cell if not room or len(cell) <= bound else cell[:bound] + "…"


def _fitted(
    columns: list[list[str]], room: int | None, whole: Container[str], spare: Sequence[str]
) -> tuple[list[list[str]], list[int]]:
    """Choose the columns that are shown, and how wide each is."""
    if not room:
        return columns, [max(map(cell_width, column)) for column in columns]
    for name in spare:
        if _is_tight(columns, room):
            columns = [column for column in columns if column[0] != name]
    while True:
        widths = [max(map(cell_width, column)) for column in columns]
        loose = [n for n, column in enumerate(columns) if column[0] not in whole]
        if _shrink(widths, loose, room) or not loose:
            return columns, widths
        del columns[loose[-1]]


def _is_tight(columns: Sequence[Sequence[str]], room: int) -> bool:
    """Say whether the last column would get too little of what the others leave."""
    *others, last = (max(map(cell_width, column)) for column in columns)
    return sum(others) + 2 * len(others) + min(last, LAST_COLUMN) > room


def _shrink(widths: list[int], loose: Sequence[int], room: int) -> bool:
    """Take width away from the columns in `loose`: of the last first, then of the widest.

    False: they do not fit even so.
    """
    over = sum(widths) + 2 * (len(widths) - 1) - room
    if over > 0 and len(widths) - 1 in loose:
        given = min(over, max(0, widths[-1] - LAST_COLUMN))
        widths[-1] -= given
        over -= given
    while over > 0:
        widest = max(loose, key=lambda n: widths[n], default=None)
        if widest is None or widths[widest] <= LEAST:
            return False
        widths[widest] -= 1
        over -= 1
    return True


def terminal_width(fd: int = 1) -> int | None:
    """Give the width of the terminal that reads the answer (1) or the talk (2); None for others."""
    try:
        return os.get_terminal_size(fd).columns or None
    except OSError:
        return None


def terminal_height() -> int | None:
    """Give the number of lines of the terminal that reads the answer; None where there is none."""
    try:
        return os.get_terminal_size(1).lines or None
    except OSError:
        return None


def cell_width(text: str) -> int:
    """Count the columns that a text takes: wide characters are two, combining ones none."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0  # Korean vowels, too, are drawn into the character before them
        if category(c) in ("Mn", "Me") or "\u1160" <= c <= "\u11ff" or "\ud7b0" <= c <= "\ud7ff"
        else 2
        if east_asian_width(c) in "WF"
        else 1
        for c in text
    )


def cut(text: str, width: int) -> str:
    """Cut a text to a number of columns, with an ellipsis for what is missing."""
    if width < 1:
        return ""
    if cell_width(text) <= width:
        return text
    kept = text[: max(0, width - 1)]
    while cell_width(kept) > width - 1 and kept:
        kept = kept[:-1]
    return kept + "…"


def beginning(text: str, width: int) -> str:
    """Make a long text harmless and cut it, and say how many bytes of it are not shown."""
    if len(text) <= width and cell_width(one_line(text)) <= width:
        return one_line(text)
    kept = min(len(text), width)
    while True:
        missing = f"… ({len(text[kept:].encode('utf-8', 'replace')):,} bytes more)"
        if not kept or cell_width(shown := one_line(text[:kept]) + missing) <= width:
            return shown if kept else missing
        kept -= 1


def one_line(text: str) -> str:
    """Make text from a job or a command harmless: no control characters, no bidi overrides."""
    if text.isascii() and text.isprintable():
        return text
    # Python counts bidi controls (CVE-2021-42574) as not printable, too.
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char) or char.encode(
        "unicode_escape", "backslashreplace"
    ).decode()


def _print_error(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, AttributeError):
        pass  # nobody is there to be told


def _is_terminal(stream: object) -> bool:
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False
