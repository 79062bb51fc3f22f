"""What all commands share of argparse, and of doing a thing to several named jobs."""

from __future__ import annotations

import argparse
import sys

from queuectl.errors import QueueError, UsageError
from queuectl.render import terminal_width

# argparse looks for translations of its headings, and loads and compiles a good deal for that:
# 1.2 ms, of the 8 that an enqueue takes beside Python's own start. There are none.
argparse._ = lambda text: text  # type: ignore[attr-defined]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import NoReturn

    from queuectl.api import Queue
    from queuectl.render import Talk


LENGTHS = "DUR is a length: 90 or 90s (seconds), 10m, 1h30m, 2d."


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UsageError, and whose help opens with examples."""

    examples = ""
    _formatting = False

    def __init__(self, *words: str, **options: object) -> None:
        """Take what argparse takes."""
        options.setdefault("formatter_class", _formatter)
        super().__init__(*words, **options)  # type: ignore[arg-type]
        self._negative_number_matcher = _Negative  # type: ignore[assignment]

    def _get_formatter(self) -> argparse.HelpFormatter:
        # argparse also wants one for each argument that is added, to check its metavar: 0.4 ms of
        # the 5 that an enqueue takes beside Python's own start.
        return super()._get_formatter() if self._formatting else _Unchecked()

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Note the flags of the innermost parser, to name the one that is nearest to a typo."""
        values, unknown = super().parse_known_args(args, namespace)
        if not hasattr(values, "flags"):
            values.flags = list(self._option_string_actions)
        return values, unknown

    def _check_value(self, action: argparse.Action, value: object) -> None:
        words = action.choices
        if isinstance(action, argparse._SubParsersAction) and value not in (words or ()):
            from queuectl.values import nearest

            known = list(words or ())
            hint = nearest(str(value), known) or f"It takes {', '.join(known)}"
            raise UsageError(f"there is no {value!r}", hint)
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise UsageError(message, f"For help: queuectl help {self.prog.partition(' ')[2]}".rstrip())

    def format_help(self) -> str:
        """Put the examples first: they are what people look for."""
        self._formatting = True
        page = super().format_help()
        units = f"\n{LENGTHS}\n" if "DUR" in page else ""
        return (self.examples.strip() + "\n\n" if self.examples else "") + page + units


class _Negative:
    """Takes -1s for a value, as argparse takes -1, so that we say what is wrong with it."""

    @staticmethod
    def match(word: str) -> bool:
        return word[:1] == "-" and word[1:2].isdigit()


class _Unchecked(argparse.HelpFormatter):
    def __init__(self) -> None:
        pass

    def _format_args(self, *_: object) -> str:
        return ""


def _formatter(prog: str) -> argparse.HelpFormatter:
    # With a width given, argparse does not load shutil (and with it bz2, lzma and zlib).
    return argparse.HelpFormatter(prog, width=(terminal_width() or 80) - 2)


class Intermixed(Parser):
    """A parser that takes its words before, between and behind its flags."""

    _formatting = True  # parsing so, argparse writes the usage first
    _mixing = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse the flags first and what is left as words: argparse calls this for each."""
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


def add_globals(parser: argparse.ArgumentParser) -> None:
    """Add the flags that work before and after the command."""
    group = parser.add_argument_group("everywhere")
    suppress = argparse.SUPPRESS
    group.add_argument("--db", metavar="PATH", default=suppress, help="the queue's file")
    group.add_argument("--json", action="store_true", default=suppress, help="answer in JSON")
    group.add_argument("-q", "--quiet", action="store_true", default=suppress, help="say less")
    group.add_argument("-v", "--verbose", action="store_true", default=suppress, help="give tips")
    group.add_argument(
        "--color", choices=("auto", "always", "never"), default=suppress, help="colour the answer"
    )


def add_actions(
    parser: argparse.ArgumentParser,
    actions: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]],
    parser_class: type[Parser] = Parser,
) -> None:
    """Add the second words of a command, such as the `list` of `dlq list`."""
    words = parser.add_subparsers(
        dest="action_word",
        metavar="|".join(actions),
        required=True,
        parser_class=parser_class,
        prog=parser.prog,
    )
    for name, (summary, arguments) in actions.items():
        action = words.add_parser(name, description=summary, help=summary, allow_abbrev=False)
        if isinstance(parser, Parser):
            action.examples = _examples(parser.examples, f"{parser.prog} {name} ")
        arguments(action)
        add_globals(action)


def second_words(parser: argparse.ArgumentParser) -> list[str]:
    """List the second words that a command has."""
    return [
        word
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for word in action.choices
    ]


def _examples(page: str, start: str) -> str:
    """Take from the examples of a command those of one of its second words."""
    lines = [line for line in page.splitlines() if f"{line} ".lstrip().startswith(start)]
    return "\n".join(["examples:", *lines])


def add_ids(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add the list of job ids."""
    parser.add_argument("ids", nargs="*" if optional else "+", metavar="ID", help="a job's id")


def each(talk: Talk, ids: Iterable[str], do: Callable[[str], None]) -> int:
    """Do a thing to each named job, whatever becomes of the others; give the exit status.

    3 (not found) outranks 5 (conflict).
    """
    worst = 0
    for job_id in dict.fromkeys(ids):
        try:
            do(job_id)
        except QueueError as error:
            if error.exit_code not in (3, 5):
                raise
            talk.error(error)
            worst = min(worst or error.exit_code, error.exit_code)
    return worst


def each_job(
    queue: Queue, talk: Talk, ids: Iterable[str], do: Callable[[str], object], done: str
) -> int:
    """Do a thing to each named job and print the jobs; give the exit status.

    `do` gives False where there was nothing to do, and has said so.
    """
    from queuectl.render import job_json

    jobs = []

    def act(job_id: str) -> None:
        happened = do(job_id) is not False
        jobs.append(queue.job(job_id))
        if talk.quiet and not talk.as_json:
            talk.answer(job_id)
        elif happened and not talk.as_json:
            talk.answer(f"{done} job {job_id}.")

    status = each(talk, ids, act)
    if talk.as_json:
        paused = queue.storage.paused_queues()
        talk.json([job_json(job, queue.place, paused) for job in jobs])
    return status


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person; where there is none, --yes is needed. Raises UsageError, QueueError."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("it needs a confirmation and there is no terminal", "Say --yes")
    print(question + " [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise QueueError("nothing was removed")


def option(name: str, read: Callable[[object], object], value: object) -> object:
    """Check the value of a flag; None stands for "not given". Raises UsageError."""
    if value is None:
        return None
    try:
        return read(value)
    except ValueError as error:
        raise UsageError(f"{name} {error}") from None
