"""The command line: find the command, parse its words, call it, turn errors into exit codes.

Only the parser of the typed command is built: building all of them would cost more than enqueueing.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from importlib import import_module

from queuectl import __version__
from queuectl.commands.parsing import Parser, add_globals
from queuectl.config import color
from queuectl.errors import QueueError, UsageError
from queuectl.render import Talk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType
    from typing import NoReturn

COMMANDS = {
    "enqueue": "put a command into the queue",
    "list": "list jobs",
    "show": "show everything about one job",
    "why": "say why a job is where it is, and when it runs",
    "logs": "print what a job wrote",
    "wait": "wait for jobs to end",
    "cancel": "cancel jobs; running ones are ended first",
    "hold": "keep waiting jobs from being started",
    "release": "lift a hold, a delay or a backoff",
    "edit": "change the priority, queue or label of waiting jobs",
    "rerun": "do the same once more, as new jobs",
    "status": "count the jobs and show the workers",
    "stats": "add up what the jobs that have ended came to",
    "dlq": "list, retry or purge the jobs that are dead",
    "worker": "start, run, stop, scale or list workers",
    "schedule": "enqueue again and again, by cron or every so often",
    "queue": "pause queues and limit what runs at once",
    "prune": "remove jobs that have ended, and their logs",
    "backup": "copy the queue while everything runs",
    "doctor": "look the installation and the file over",
    "metrics": "print Prometheus text",
    "config": "read and change settings",
    "completion": "print a completion script for a shell",
    "help": "explain a command",
}
_WITH_VALUE = ("--db", "--color")
_ABOUT_ALL = frozenset(("-h", "--help", "-V", "--version"))  # where they stand before a command


def entry() -> NoReturn:
    """Be the `queuectl` command: run it, flush, and leave without tearing down the interpreter."""
    gc.set_threshold(20_000)  # a short command ends before; collecting took it 3 % of its time
    _fill_standard_descriptors()
    if sys.stderr is None:  # what workers and multiprocessing say goes nowhere, but it can be said
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    status = main()
    # Not sys.exit: unloading the modules takes as long as an enqueue.
    os._exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    talk = Talk(as_json="--json" in _before_dashes(words)[0])
    try:
        status = _run(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except UsageError as error:
        return _fail(talk, error, _where(words))
    except QueueError as error:
        return _fail(talk, error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()
        return 141  # as if SIGPIPE had ended us, like git
    except OSError as error:
        _drop_output()
        return _fail(talk, QueueError(f"{error.filename or 'output'}: {error.strerror or error}"))
    except Exception as error:
        if os.environ.get("QUEUECTL_DEBUG"):
            raise
        told = QueueError(f"internal error: {error!r}", "For a traceback: QUEUECTL_DEBUG=1")
        return _fail(talk, told)


def _run(words: list[str]) -> int:
    try:
        return _dispatch(words)
    except SystemExit as leave:  # argparse has printed a help page or the version
        return int(leave.code or 0)


def _dispatch(words: list[str]) -> int:
    ours, exact = _before_dashes(words)
    at = next(_plain_words(ours), len(ours))
    if _ABOUT_ALL.intersection(ours[:at]):
        top_parser().parse_args(ours)  # argparse prints the page and leaves
    if at == len(ours):
        print(short_help())
        return 2
    # Flags that work everywhere work before the command, too: they are its own.
    values = vars(_parse(ours[at], ours[:at] + ours[at + 1 :], exact))
    for known in ("json", "quiet", "verbose"):
        values.setdefault(known, False)
    talk = Talk(
        as_json=values.pop("json"),
        quiet=values.pop("quiet"),
        verbose=values.pop("verbose"),
        color=color(values.pop("color", "")),
    )
    db = values.pop("db", None)
    run = values.pop("run")
    creates = values.pop("creates", False)
    values.pop("action_word", None)
    if values.pop("about_commands", False):  # no queue, but what this file alone can build
        return int(run(parsers, talk, **values))
    from queuectl.api import Queue

    queue = Queue(db, create=creates)
    status = int(run(queue, talk, **values))
    if not creates and not status and queue.storage.is_absent:
        talk.warn(f"there is no queue at {queue.place.db} yet")
    return status


def _parse(name: str, ours: list[str], exact: list[str] | None) -> argparse.Namespace:
    module = _module(name)
    takes_exact = getattr(module, "TAKES_EXACT", False)
    if isinstance(takes_exact, str):  # only that action does
        takes_exact = takes_exact == _first_word(ours)
    if exact is not None and not takes_exact:
        ours = [*ours, "--", *exact]
    values, unknown = build_parser(name).parse_known_args(ours)
    if unknown:
        explain = getattr(module, "explain_unknown", lambda *_: None)
        typed = [word for word in ours if word in {*unknown, *getattr(values, "words", ())}]
        raise UsageError(*(explain(unknown, typed) or _unknown(unknown[0], values.flags)))
    del values.flags
    if takes_exact:
        values.exact = exact
    return values


def _unknown(word: str, flags: list[str]) -> tuple[str, str]:
    if not word.startswith("-"):
        return f"unknown argument {word!r}", ""
    from queuectl.values import nearest

    return f"unknown flag {word}", nearest(word, flags) if word.startswith("--") else ""


def parsers(*names: str) -> dict[str, argparse.ArgumentParser]:
    """Build the parser of each of these commands, or of all; "" is what stands above them.

    Raises UsageError.
    """
    wanted = names or ("", *COMMANDS)
    return {name: build_parser(name) if name else top_parser() for name in wanted}


def build_parser(name: str) -> argparse.ArgumentParser:
    """Build the parser of one command. Raises UsageError where there is no such command."""
    module = _module(name)
    parser = Parser(f"queuectl {name}", description=COMMANDS[name], allow_abbrev=False)
    parser.examples = module.EXAMPLES
    module.arguments(parser)
    add_globals(parser)
    return parser


def top_parser() -> argparse.ArgumentParser:
    """Build the parser of what stands without a command."""
    parser = Parser("queuectl", add_help=False, allow_abbrev=False)
    parser.add_argument("-V", "--version", action="version", version=f"queuectl {__version__}")
    unseen = argparse.SUPPRESS
    parser.add_argument("-h", "--help", action=_ShortHelp, nargs=0, dest=unseen, default=unseen)
    add_globals(parser)
    return parser


def _module(name: str) -> ModuleType:
    if name in COMMANDS:
        return import_module(f"queuectl.commands.{name}")
    from queuectl.values import nearest

    hint = _as_second_word(name) or nearest(name, list(COMMANDS)) or "To see them: queuectl --help"
    raise UsageError(f"there is no command {name!r}", hint)


def _as_second_word(word: str) -> str:
    """Give a hint that names the commands with this second word: `stop` is `worker stop`."""
    from queuectl.commands.parsing import second_words

    found = [f"{name} {word}" for name in COMMANDS if word in second_words(build_parser(name))]
    return f"Did you mean {' or '.join(found)}?" if found else ""


class _ShortHelp(argparse.Action):
    def __call__(self, *_: object) -> NoReturn:
        print(short_help())
        raise SystemExit(0)


def short_help() -> str:
    """Give the page that `queuectl` alone prints."""
    lines = "\n".join(f"  {name:<10} {summary}" for name, summary in COMMANDS.items())
    return (
        "queuectl: a background job queue for shell commands\n\n"
        '  queuectl enqueue "make test"    put a job in\n'
        "  queuectl worker start           run what is in line\n"
        "  queuectl list                   see what became of it\n\n"
        f"{lines}\n\n"
        "For more: queuectl help COMMAND\n"
        "Everywhere: --db PATH --json -q/--quiet -v/--verbose --color auto|always|never"
    )


def _before_dashes(words: list[str]) -> tuple[list[str], list[str] | None]:
    """Split at the first `--`: after it, nothing is a flag of ours."""
    if "--" not in words:
        return words, None
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _plain_words(words: list[str]) -> Iterator[int]:
    """Find the words that are no flags, nor the value of a flag that stands everywhere."""
    skip = False
    for at, word in enumerate(words):
        if skip:
            skip = False
        elif word in _WITH_VALUE:
            skip = True
        elif not word.startswith("-"):
            yield at


def _first_word(words: list[str]) -> str | None:
    return next((words[at] for at in _plain_words(words)), None)


def _where(words: list[str]) -> str:
    name = _first_word(_before_dashes(words)[0])
    return f"queuectl {name}" if name in COMMANDS else "queuectl"


def _fail(talk: Talk, error: QueueError, where: str = "queuectl") -> int:
    talk.error(error, where)
    return error.exit_code


def _drop_output() -> None:
    """Point stdout at nothing, so that no later flush fails again."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
    except OSError:
        pass


def _fill_standard_descriptors() -> None:
    """Open what the caller closed of 0..2: a file of ours must not land there."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
