"""Many jobs from a file: a job a line, shell or JSON, checked completely before any is stored.

The input is read twice: once to check it, taking no lock however slow its producer is, and once
inside the transaction. Neither pass holds more than one line, so a million lines are no matter.
"""

from __future__ import annotations

import sys
from codecs import BOM_UTF8

from queuectl import spec, values
from queuectl.errors import QueueError, UsageError
from queuectl.values import MAX_ARGUMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

# What a pipe brings is kept in memory up to this size, then in a temporary file.
SPOOL_BYTES = 16 << 20
TELL_EVERY = 10_000
BATCH = 1000  # commands in one statement
MAX_LINE = 8 * MAX_ARGUMENT  # a job in JSON is longer than its command


class JobFile:
    """A file of jobs, and the line that is being read."""

    def __init__(self, name: str, progress: Callable[[int], None]) -> None:
        """Open a file, or standard input for "-". Raises QueueError where it cannot be read."""
        self.name = name
        self.line = 0
        self._progress = progress
        self._input = _standard_input() if name == "-" else _open(name)

    def check(self, defaults: Mapping[str, object], settings: Mapping[str, str]) -> int:
        """Read everything, store nothing; give the number of rows. Raises UsageError."""
        count = sum(1 for _ in self.rows(defaults, settings, spec.now_ms()))
        self._input.seek(0)
        return count

    def rows(
        self, defaults: Mapping[str, object], settings: Mapping[str, str], now: int
    ) -> Iterator[dict[str, object]]:
        """Give the rows, shell lines in a row as one with many `commands`.

        Raises UsageError that names the line.
        """
        common = spec.complete({**defaults, "command": "true"}, settings, now)
        names: set[object] = set()
        commands: list[str] = []
        for line in self._lines():
            try:
                if not line.startswith(b"{") or not spec.looks_like_json(_text(line)):
                    commands.append(_shell_line(line))
                    if len(commands) == BATCH:
                        yield {**common, "commands": commands}
                        commands = []
                    continue
                row = spec.complete({**defaults, **spec.from_json(_text(line))}, settings, now)
                if row["name"] is not None and row["name"] in names:
                    raise UsageError(f"the id {row['name']} stands twice in the file")
            except QueueError as error:
                raise self.located(error) from None
            names.add(row["name"])
            if commands:
                yield {**common, "commands": commands}
                commands = []
            yield row
        if commands:
            yield {**common, "commands": commands}

    def _lines(self) -> Iterator[bytes]:
        """Give the lines that are jobs, and count all of them."""
        for self.line, raw in enumerate(self._input, 1):  # noqa: B020
            if self.line % TELL_EVERY == 0:
                self._progress(self.line)
            line = (raw.removeprefix(BOM_UTF8) if self.line == 1 else raw).strip()
            if line and not line.startswith(b"#"):
                yield line

    def located(self, error: QueueError) -> QueueError:
        """Give the same error with the file and the line before it."""
        where = "-" if self.name == "-" else self.name
        return type(error)(f"{where}:{self.line}: {error.message}", error.hint)

    def close(self) -> None:
        """Let the file go."""
        self._input.close()


def _text(line: bytes) -> str:
    try:
        return values.text(line.decode("utf-8"), MAX_LINE)
    except UnicodeDecodeError:
        raise UsageError("the line is not valid UTF-8") from None
    except ValueError as error:
        raise UsageError(f"the command {error}") from None


def _shell_line(line: bytes) -> str:
    """Check a command; only what is odd takes the long way, which says what is wrong."""
    if len(line) < MAX_ARGUMENT and b"\0" not in line:
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return spec.shell_line(_text(line))


def _open(name: str) -> BinaryIO:
    try:
        file = open(name, "rb")
    except OSError as error:
        raise QueueError(f"cannot read {name}: {error.strerror}") from None
    return file if file.seekable() else _spooled(file)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("standard input is closed")
    return _spooled(sys.stdin.buffer)


def _spooled(source: BinaryIO) -> BinaryIO:
    """Keep what can be read only once."""
    from shutil import copyfileobj
    from tempfile import SpooledTemporaryFile

    kept = SpooledTemporaryFile(max_size=SPOOL_BYTES)
    copyfileobj(source, kept)
    kept.seek(0)
    return kept  # type: ignore[return-value]
