"""`queuectl enqueue`: put a job into the queue and print its id."""

from __future__ import annotations

import sys

from queuectl import spec
from queuectl.errors import UsageError
from queuectl.values import MAX_ARGUMENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Container

    from queuectl.api import Queue
    from queuectl.render import Talk

MAX_READ = 16 << 20  # of a script: enough to say how large it is
TAKES_EXACT = True  # the words after `--` are the program and its arguments

EXAMPLES = """
examples:
  queuectl enqueue "make test && make deploy"     a line for the shell
  queuectl enqueue -- rsync -a src/ host:dst/     a program, without a shell
  queuectl enqueue '{"command":"make","queue":"build","max_retries":0}'
  queuectl enqueue - < nightly.sh                 a script on standard input
  id=$(queuectl enqueue --delay 1h --timeout 10m "backup /srv")
  queuectl enqueue --after "$id" "verify /srv"    only if that one completes
  queuectl enqueue --file jobs.txt                a job a line
  queuectl enqueue --wait --follow "make test"; echo $?     7, if make exits 7
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
    ("--unique", "KEY", "not if an unfinished job has this key; its id is printed then"),
    ("--expires", "DUR", "cancel it if it has not been started by then"),
    ("--slots", "N", "how many slots of its queue it takes (1)"),
)
# These are repeated.
LISTS = (
    ("--env", "K[=V]", "add or replace a variable; without a value, the caller's own"),
    ("--after", "ID", "not before this job has completed"),
    ("--after-finished", "ID", "not before it ended, however"),
)


def arguments(parser: ArgumentParser) -> None:
    """Declare what `enqueue` takes."""
    parser.usage = 'queuectl enqueue [flags] "COMMAND" | JSON | - | -- PROGRAM [ARG…]'
    parser.add_argument(
        "words", nargs="*", metavar="COMMAND", help='one quoted string, JSON or "-"'
    )
    add_options(parser)
    parser.add_argument("--file", metavar="F", help='a job a line, shell or JSON; "-" is stdin')
    parser.add_argument("--wait", action="store_true", help="wait, and exit as the job did")
    parser.add_argument("--follow", action="store_true", help="print what it writes, with --wait")
    parser.set_defaults(run=run, creates=True)


def add_options(parser: ArgumentParser, but: Container[str] = ()) -> None:
    """Declare what may be asked of a job, but for the options named (as spec.OPTIONS has them)."""
    for flag, metavar, text in FLAGS:
        if _key(flag) not in but:
            dest = "queue_name" if flag == "--queue" else None
            parser.add_argument(flag, dest=dest, metavar=metavar, help=text)
    for flag, metavar, text in LISTS:
        if _key(flag) not in but:
            parser.add_argument(flag, action="append", metavar=metavar, help=text)
    if "hold" not in but:
        parser.add_argument("--hold", action="store_true", help="not before it is released")


def explain_unknown(unknown: list[str], typed: list[str]) -> tuple[str, str] | None:
    """Explain a flag behind the command: most often the command was not quoted."""
    return None if typed[0] == unknown[0] else (quote(typed, "queuectl enqueue"), "")


def run(
    queue: Queue,
    talk: Talk,
    *,
    words: list[str],
    exact: list[str] | None,
    file: str | None,
    wait: bool,
    follow: bool,
    **flags: object,
) -> int:
    """Store the job (or a file of them) and print its id; warn where nobody will run it soon."""
    defaults = spec.check(options(flags), flag_of)
    if follow and (not wait or talk.as_json):
        raise UsageError("--follow goes with --wait, and without --json")
    if file is not None:
        return _enqueue_file(queue, talk, file, defaults, words=words, exact=exact, wait=wait)
    asked = {**defaults, **what(words, exact)}
    ((job_id, new),) = queue.insert([asked])
    if not new:
        talk.warn(f"job {job_id} is unfinished and has the key {asked['unique']!r}: nothing new")
    if talk.as_json and not wait:
        from queuectl.render import job_json

        paused = queue.storage.paused_queues()
        talk.json(job_json(queue.job(job_id), queue.place, paused))
    elif not talk.as_json:
        talk.answer(job_id, flush=wait)
    _remark(queue, talk, asked)
    return _wait(queue, talk, job_id, follow=follow) if wait else 0


def options(flags: dict[str, object]) -> dict[str, object]:
    """Turn flags as argparse gives them into options as spec.OPTIONS has them."""
    found = dict(flags)
    found["queue"] = found.pop("queue_name")
    found["env"] = _environment(found["env"])  # type: ignore[arg-type]
    found["hold"] = True if found.get("hold") else None
    for key in ("after", "after_finished"):
        if found.get(key):
            found[key] = ",".join(found[key])  # type: ignore[arg-type]
    # What was not given is left out: to spec, a timeout of None lifts the one that is configured.
    return {key: value for key, value in found.items() if value is not None}


def _enqueue_file(
    queue: Queue,
    talk: Talk,
    file: str,
    defaults: dict[str, object],
    *,
    words: list[str],
    exact: list[str] | None,
    wait: bool,
) -> int:
    if words or exact is not None:
        raise UsageError("--file takes its commands from the file")
    if wait or "id" in defaults:
        raise UsageError(f"--file and {'--wait' if wait else '--id'} exclude each other")
    stored = queue.insert_file(file, defaults, lambda line: talk.progress(f"line {line}"))
    talk.progress("")
    paused = queue.storage.paused_queues() if talk.as_json else ()
    for job_id, _ in stored:
        if talk.as_json:
            from queuectl.render import job_json

            talk.json(job_json(queue.job(job_id), queue.place, paused))
        else:
            talk.answer(job_id)
    if stored:
        _remark(queue, talk, defaults)
    return 0


def _wait(queue: Queue, talk: Talk, job_id: str, *, follow: bool) -> int:
    """Wait for the job and give the status of its last run; 124 timed out, 125 no result."""
    if follow:
        from queuectl.commands.logs import follow_to_end

        follow_to_end(queue, queue.job(job_id))
    for job, _ in queue.wait([queue.job(job_id)]):
        if talk.as_json:
            from queuectl.render import job_json

            talk.json(job_json(job, queue.place))
        runs = queue.runs(job)
        if runs and runs[-1].outcome == "timed_out":
            return 124
        if job.state == "cancelled" or not runs:
            return 125
        if job.signal is not None:
            return 128 + job.signal
        return 125 if job.exit_code is None else job.exit_code
    return 125


def what(
    words: list[str], exact: list[str] | None, typed: str = "queuectl enqueue"
) -> dict[str, object]:
    """Tell the forms of a command apart; `typed` is what stands before it, for the errors."""
    if exact is not None:
        if words:
            raise UsageError(f"a command stands before -- and after it: {words[0]!r}")
        return spec.check({"argv": exact}, lambda _: "the command")
    if len(words) > 1:
        raise UsageError(quote(words, typed))
    if not words:
        raise UsageError("there is no command", f'Give one: {typed} "make test"')
    text = _script() if words[0] == "-" else words[0]
    if spec.looks_like_json(text) and words[0] != "-":
        return spec.from_json(text)
    return spec.check({"command": text}, lambda _: "the command")


def quote(words: list[str], typed: str) -> str:
    """Tell somebody who did not quote a command how to, in words that can be pasted."""
    from shlex import join, quote

    line, exact = " ".join(words), join(words)
    quoted = quote(line) if set(line) & set('"$`\\!') else f'"{line}"'
    if len(exact) > 200:
        return f'quote the command: {typed} "…", or: -- …'
    return f"quote the command: {typed} {quoted}, or: -- {exact}"


def _script() -> str:
    """Read a script from standard input."""
    if sys.stdin is None:
        raise UsageError("standard input is closed")
    raw = sys.stdin.buffer.read(MAX_READ)
    if len(raw) >= MAX_ARGUMENT:
        size = f"{MAX_READ} bytes or more" if len(raw) == MAX_READ else f"{len(raw)} bytes long"
        raise UsageError(
            f"the script is {size}, and a job takes at most {MAX_ARGUMENT - 1}",
            "Keep it in a file: queuectl enqueue -- sh FILE",
        )
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


def flag_of(key: str) -> str:
    """Give the flag that sets an option."""
    return "--" + key.replace("_", "-")


def _key(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _remark(queue: Queue, talk: Talk, options: dict[str, object]) -> None:
    """Say what the person would want to know now."""
    if "at" in options and spec.is_past(options["at"]):
        talk.warn("--at lies in the past: it runs now")
    if "cwd" in options and spec.is_gone(options["cwd"]):
        talk.warn(f"{options['cwd']} is no directory: the job fails unless it is one by then")
    name = str(options.get("queue", "default"))
    if not queue.is_served(name):
        talk.warn(f"no worker serves the queue {name}")
        talk.tip("Start one: queuectl worker start")
