"""`queuectl enqueue`: put a job into the queue and print its id."""

from __future__ import annotations

import sys

from queuectl import spec
from queuectl.errors import UsageError
from queuectl.values import MAX_ARGUMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from queuectl.api import Queue
    from queuectl.render import Talk

TAKES_EXACT = True  # the words after `--` are the program and its arguments

EXAMPLES = """
examples:
  queuectl enqueue "make test && make deploy"     a line for the shell
  queuectl enqueue -- rsync -a src/ host:dst/     a program and its words, no shell
  queuectl enqueue '{"command":"make","queue":"build","max_retries":0}'
  queuectl enqueue - < nightly.sh                 a script on standard input
  id=$(queuectl enqueue --delay 1h --timeout 10m "backup /srv")
"""

# flag, metavar, help; what they take is checked in one place, spec.OPTIONS.
FLAGS = (
    ("--id", "NAME", "an id of your own; one that exists is refused (exit 5)"),
    ("--queue", "Q", "the queue it waits in (default)"),
    ("--priority", "N", "higher runs earlier (0); may be negative"),
    ("--delay", "DUR", "not before this long from now: 90, 90s, 1h30m, 2d"),
    ("--at", "TIME", "not before: RFC 3339, '2026-12-01 09:00' or the next 09:00"),
    ("--max-retries", "N", "re-runs after the first run"),
    ("--backoff-base", "X", "wait X ^ n seconds after failed attempt n"),
    ("--timeout", "DUR", "end a run that takes longer; it has failed then"),
    ("--cwd", "DIR", "the directory it runs in (the current one)"),
    ("--label", "TEXT", "a word to find it by"),
    ("--no-retry-on", "CODES", "exit codes after which it is not retried: 2,64"),
)


def arguments(parser: ArgumentParser) -> None:
    """Declare what `enqueue` takes."""
    parser.usage = 'queuectl enqueue [flags] "COMMAND" | JSON | - | -- PROGRAM [ARG…]'
    parser.add_argument(
        "words", nargs="*", metavar="COMMAND", help='one quoted string, JSON or "-"'
    )
    for flag, metavar, text in FLAGS:
        dest = "queue_name" if flag == "--queue" else None
        parser.add_argument(flag, dest=dest, metavar=metavar, help=text)
    parser.add_argument(
        "--env",
        action="append",
        metavar="K[=V]",
        help="add or replace a variable; without a value, the caller's own",
    )
    parser.set_defaults(run=run)


def explain_unknown(words: list[str]) -> tuple[str, str]:
    """Explain a word that is no flag of ours: most often the command was not quoted."""
    return (
        f"unknown flag {words[0]}",
        'If it is part of the command, quote that: "ls -l", or -- ls -l',
    )


def run(
    queue: Queue,
    talk: Talk,
    *,
    words: list[str],
    exact: list[str] | None,
    env: list[str] | None,
    queue_name: str | None,
    **flags: object,
) -> int:
    """Store the job and print its id; warn where nobody will run it soon."""
    defaults = spec.check({**flags, "queue": queue_name, "env": _environment(env)}, _flag)
    options = {**defaults, **_what(words, exact)}
    job_id = queue.insert([options])[0]
    if talk.as_json:
        from queuectl.render import job_json

        talk.json(job_json(queue.job(job_id), queue.place))
    else:
        talk.answer(job_id)
    _remark(queue, talk, options)
    return 0


def _what(words: list[str], exact: list[str] | None) -> dict[str, object]:
    """Tell the forms of a command apart."""
    if exact is not None:
        if words:
            raise UsageError(f"a command stands before -- and after it: {words[0]!r}")
        return spec.check({"argv": exact}, lambda _: "the command")
    if len(words) > 1:
        line = " ".join(words)
        raise UsageError(f'quote the command: queuectl enqueue "{line}", or: -- {line}')
    if not words:
        raise UsageError("there is no command", 'To enqueue one: queuectl enqueue "make test"')
    text = _script() if words[0] == "-" else words[0]
    if spec.looks_like_json(text) and words[0] != "-":
        return spec.from_json(text)
    return spec.check({"command": text}, lambda _: "the command")


def _script() -> str:
    """Read a script from standard input."""
    if sys.stdin is None:
        raise UsageError("standard input is closed")
    raw = sys.stdin.buffer.read(MAX_ARGUMENT + 1)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("the script is not valid UTF-8") from None


def _environment(entries: list[str] | None) -> dict[str, str | None] | None:
    """Read K=V and K from the --env flags."""
    if not entries:
        return None
    pairs = (entry.partition("=") for entry in entries)
    return {name: value if sign else None for name, sign, value in pairs}


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _remark(queue: Queue, talk: Talk, options: dict[str, object]) -> None:
    """Say what the person would want to know now."""
    if "at" in options and spec.is_past(options["at"]):
        talk.warn("--at lies in the past: it runs now")
    if not queue.is_served(str(options.get("queue", "default"))):
        talk.tip("No worker serves this queue. Start one: queuectl worker start")
