"""docs/json.md against what the program prints: every command, every field, every null."""

from __future__ import annotations

import argparse
import ast
import json
import re
import unittest
from collections import defaultdict
from collections.abc import Callable, Iterator

from queuectl import errors
from queuectl.cli import COMMANDS, build_parser
from queuectl.lifecycle import Kind, State
from tests.calls import call
from tests.support import ROOT, QueueTest, wait_for

TEXT = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
NO_JSON = {
    "logs": ["logs"],
    "completion": ["completion", "bash"],
    "metrics": ["metrics"],
    "serve": ["serve"],
}
PAGES = {"help"}  # a page to read
# How the contract wants these objects to begin.
CONTRACT = {
    "job": "id, command, state, attempts, max_retries, created_at, updated_at, queue, priority, "
    "label, unique, after, slots, argv, cwd, run_at, timeout_s, backoff_base, started_at, "
    "finished_at, duration_s, exit_code, signal, error, waiting_for, run, worker, log_path",
    "run": "run, attempt, started_at, finished_at, duration_s, outcome, exit_code, signal, error, "
    "worker, cpu_s, max_rss_bytes",
    "worker": "pid, state, queues, job, started_at",
    "queue": "name, paused, concurrency, slots, rate",
    "schedule": "name, cron, every_s, tz, command, queue, paused, last_at, next",
    "group": "group, count, exit_code, last_line, ids",
    "why": "id, state, reason, explanation, blocked_by, expected_at",
    "error": "code, message, hint",
}  # fmt: skip
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

Field = tuple[str, str]  # its type, and when it is null


def rows(text: str) -> Iterator[list[str]]:
    """Give the cells of the tables in a text, without their heads."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def objects() -> dict[str, dict[str, Field]]:
    """Read the documented objects: their fields in order."""
    found: dict[str, dict[str, Field]] = {}
    for part in TEXT.split("\n### ")[1:]:
        name, _, body = part.partition("\n")
        own = {cells[0].strip("`"): (cells[1], cells[3]) for cells in rows(body.split("\n## ")[0])}
        others = [found[other] for other in re.findall(r"[Aa]ll of \*\*([a-z]+)\*\*", body)]
        both = [*others, own] if body.startswith("All of") else [own, *others]
        found[name] = {key: field for fields in both for key, field in fields.items()}
    return found


def answers() -> dict[str, tuple[str, str]]:
    """Read what each documented command answers: the shape, and of what."""
    part = TEXT.split("\n## Commands\n")[1].split("\n## ")[0]
    return {command.strip("`"): (shape, of) for command, shape, of in rows(part)}


def actions(name: str) -> list[str]:
    """List a command and its second words as they are typed."""
    for action in build_parser(name)._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [f"{name} {word}" for word in action.choices]
    return [name]


class Book:
    """Checks values against the documented objects, and remembers what it has seen."""

    def __init__(self) -> None:
        self.objects = objects()
        self.seen: defaultdict[tuple[str, str], set[bool]] = defaultdict(set)
        self.plain: dict[str, Callable[[object], bool]] = {
            "string": lambda value: isinstance(value, str),
            "id": lambda value: isinstance(value, str) and value != "",
            "time": lambda value: isinstance(value, str) and bool(STAMP.fullmatch(value)),
            "integer": lambda value: type(value) is int,
            "number": lambda value: type(value) in (int, float),
            "boolean": lambda value: isinstance(value, bool),
        }

    def check(self, kind: str, value: object, where: str) -> None:
        if kind.startswith("list of "):
            assert isinstance(value, list), f"{where}: {value!r} is no list"
            for each in value:
                self.check(kind.removeprefix("list of "), each, where)
        elif kind in self.plain:
            assert self.plain[kind](value), f"{where}: {value!r} is no {kind}"
        else:
            assert isinstance(value, dict), f"{where}: {value!r} is no object"
            fields = self.objects[kind]
            assert list(value) == list(fields), f"{where}: {kind} has {list(value)}"
            for name, (type_, null) in fields.items():
                self._field(kind, name, type_, null, value[name], where)

    def _field(
        self, kind: str, name: str, type_: str, null: str, value: object, where: str
    ) -> None:
        here = f"{where}: {kind}.{name}"
        self.seen[kind, name].add(value is None)
        if value is None:
            assert null != "never", f"{here} is null"
        else:
            self.check(type_, value, here)


class PrintedTest(QueueTest):
    """One queue in which everything is the case that a field can tell of."""

    def setUp(self) -> None:
        super().setUp()
        self.book = Book()
        self.answers = answers()
        self.done: set[str] = set()

    def say(self, *words: str) -> str:
        """Call it in this process; give what it printed."""
        said = call(*words, "--json", env={"QUEUECTL_DB": str(self.box.db)})
        self.assertIn(said.code, (0, 1, 4), said)
        return said.out

    def look(self, row: str, *words: str, apart: bool = False) -> object:
        """Call what a row of the documentation speaks of and check what it prints."""
        out = self.box.run(*words, "--json").out if apart else self.say(*words)
        shape, of = self.answers[row]
        self.done.add(row)
        values = [json.loads(line) for line in out.splitlines()]
        if shape != "lines":
            self.assertEqual(len(values), 0 if shape == "nothing" else 1, out)
        for value in values:
            self.book.check(f"list of {of}" if shape == "array" else of, value, row)
        return values[0] if values else None

    def test_everything_that_is_printed_is_documented(self) -> None:
        self.putting_in()
        self.looking("before a worker comes")
        self.working()
        self.limits_and_schedules()
        self.looking("after the work")
        self.changing()
        self.clearing_up()
        self.assertEqual(self.done, set(self.answers))
        self.every_case_was_seen()

    def putting_in(self) -> None:
        (self.box.dir / "jobs").write_text("true\nfalse\n")
        self.look("stats", "stats")
        self.look("enqueue", "enqueue", "--id", "plain", "true")
        rich = ("--label", "l", "--unique", "k", "--timeout", "1h", "--delay", "1h", "--hold")
        self.look("enqueue", "enqueue", "--id", "rich", "--after", "plain", *rich, "true")
        self.look("enqueue", "enqueue", "--id", "later", "--delay", "1h", "true")
        self.look("enqueue --file", "enqueue", "--file", str(self.box.dir / "jobs"))
        argv = call("enqueue", "--json", "--", "true", "x", env={"QUEUECTL_DB": str(self.box.db)})
        self.book.check("job", json.loads(argv.out), "enqueue --")
        self.say("enqueue", "--id", "dies", "--max-retries", "0", "echo last words; exit 3")
        self.say("enqueue", "--id", "killed", "--max-retries", "0", "kill -9 $$")
        self.say("enqueue", "--id", "again", "--backoff-base", "1000", "exit 1")
        self.say("enqueue", "--id", "leaves", "sleep 1000 > /dev/null 2>&1 &")
        call(
            "enqueue",
            "--id",
            "nothing",
            "--max-retries",
            "0",
            "--",
            "/nonexistent",
            env={"QUEUECTL_DB": str(self.box.db)},
        )
        self.say("enqueue", "--id", "child", "--after", "later", "true")

    def looking(self, _when: str) -> None:
        self.look("list", "list")
        for job in json.loads(self.say("list")):
            self.look("show", "show", job["id"])
            self.look("why", "why", job["id"])
        self.look("status", "status")
        self.look("status --check", "status", "--check")
        self.look("stats", "stats", "--since", "1d")
        self.look("dlq list", "dlq", "list")
        self.look("dlq list --group", "dlq", "list", "--group")
        self.look("worker list", "worker", "list")
        self.look("queue list", "queue", "list")
        self.look("schedule list", "schedule", "list")
        self.look("config list", "config", "list")
        self.look("doctor", "doctor")

    def working(self) -> None:
        self.look("worker run", "worker", "run", "--max-jobs", "9", apart=True)
        self.look("worker start", "worker", "start", "--queue", "held,other", apart=True)
        gate = self.box.gate("gate")
        self.say("enqueue", "--id", "runs", "--queue", "held", f"cat {gate}")
        wait_for(lambda: self.box.state_of("runs") == "processing", "the job to start")
        self.looking("while a job runs")
        self.look("worker scale", "worker", "scale", "2", "--queue", "held,other", apart=True)
        watcher = self.start("status", "--watch", "--json")
        assert watcher.stdout is not None
        self.done.add("status --watch")
        self.book.check("status", json.loads(watcher.stdout.readline()), "status --watch")
        self.look("worker stop", "worker", "stop", "--no-wait", apart=True)
        self.looking("while the workers drain")
        gate.open()
        self.look("wait", "wait", "runs", "plain", "dies")
        self.box.ok("worker", "start", "--queue", "other")
        self.look("enqueue --wait", "enqueue", "--queue", "other", "--wait", "true", apart=True)

    def limits_and_schedules(self) -> None:
        self.look("queue set", "queue", "set", "gpu", "--slots", "0,1", "--rate", "3/1m")
        self.look("queue pause", "queue", "pause", "gpu")
        self.look("queue resume", "queue", "resume", "gpu")
        self.look("queue pause", "queue", "pause")
        self.look("list", "list")
        cron = ("--cron", "0 3 * * *")
        self.look("schedule add", "schedule", "add", "night", *cron, "--label", "l", "true")
        every = ("schedule", "add", "poll", "--every", "1h", "--timeout", "1m", "--json")
        self.box.ok(*every, "--", "true", "x")
        self.look("schedule add --preview", "schedule", "add", "x", *cron, "--preview", "3")
        self.say("schedule", "add", "tick", "--every", "1s", "--queue", "nobody", "true")
        wait_for(lambda: json.loads(self.say("schedule", "show", "tick"))["last_at"], "a tick")
        self.look("schedule list", "schedule", "list")
        self.look("schedule run", "schedule", "run", "night")
        self.look("worker stop", "worker", "stop", apart=True)
        self.look("schedule pause", "schedule", "pause", "night")
        self.look("schedule resume", "schedule", "resume", "night")
        self.look("schedule show", "schedule", "show", "poll")

    def changing(self) -> None:
        self.say("enqueue", "--id", "toy", "true")
        self.look("hold", "hold", "toy")
        self.look("release", "release", "toy")
        self.look("edit", "edit", "toy", "--priority", "-1")
        self.look("cancel", "cancel", "toy", "later")
        self.look("show", "show", "child")
        self.look("why", "why", "child")
        self.look("rerun", "rerun", "toy")
        self.look("dlq retry", "dlq", "retry", "dies")
        self.look("config set", "config", "set", "timeout", "1h")
        self.box.env["QUEUECTL_TIMEOUT"] = "soon"
        self.look("config list", "config", "list", apart=True)
        del self.box.env["QUEUECTL_TIMEOUT"]
        self.look("config get", "config", "get", "timeout")
        self.look("config unset", "config", "unset", "timeout")

    def clearing_up(self) -> None:
        self.look("schedule remove", "schedule", "remove", "night", "poll", "tick")
        self.look("backup", "backup", str(self.box.dir / "copy.db"))
        self.look("dlq purge", "dlq", "purge", "--all", "--yes")
        self.look("prune", "prune", "toy", "-n")

    def every_case_was_seen(self) -> None:
        """A field that was never null, or never anything else, has not been checked."""
        for kind, fields in self.book.objects.items():
            for name, (_, null) in fields.items() if kind != "error" else ():
                cases = {False} if null == "never" else {False, True}
                with self.subTest(f"{kind}.{name}"):
                    # the figures of a queue are the same as those of all
                    seen = self.book.seen[kind, name] | self.book.seen[kind.split()[-1], name]
                    self.assertEqual(seen, cases)


class PausedTest(QueueTest):
    def test_every_command_tells_a_job_of_a_paused_queue(self) -> None:
        self.box.enqueue("--id", "dies", "--max-retries", "0", "false")
        self.box.run("worker", "run", "--burst")
        self.box.ok("queue", "pause", "default")
        (self.box.dir / "jobs").write_text("true\n")
        self.box.ok("schedule", "add", "s", "--every", "1h", "true")
        for words in (
            ["enqueue", "--id", "a", "true"], ["enqueue", "--file", str(self.box.dir / "jobs")],
            ["edit", "a", "--priority", "1"], ["rerun", "a"], ["dlq", "retry", "dies"],
            ["schedule", "run", "s"], ["show", "a"], ["list", "--limit", "1"],
        ):  # fmt: skip
            with self.subTest(" ".join(words)):
                said = call(*words, "--json", "-q", env={"QUEUECTL_DB": str(self.box.db)})
                told = json.loads(said.out)
                (job,) = told if isinstance(told, list) else [told]
                self.assertEqual((job["state"], job["waiting_for"]), ("pending", "paused"))


class DocumentTest(unittest.TestCase):
    def test_every_command_is_documented(self) -> None:
        for name in COMMANDS:
            if name not in NO_JSON and name not in PAGES:
                with self.subTest(name):
                    self.assertLessEqual(set(actions(name)), set(answers()))

    def test_nothing_else_is(self) -> None:
        typed = {action for name in COMMANDS for action in actions(name)}
        for row, (shape, of) in answers().items():
            with self.subTest(row):
                self.assertIn(row.partition(" --")[0], typed)
                self.assertIn(shape, ("object", "array", "lines", "nothing"))
                self.assertIn(of, {*objects(), "time", ""})

    def test_the_contract_is_kept(self) -> None:
        documented = objects()
        for name, text in CONTRACT.items():
            with self.subTest(name):
                wanted = text.split(", ")
                self.assertEqual(list(documented[name])[: len(wanted)], wanted)

    def test_lengths_are_seconds_and_times_are_called_so(self) -> None:
        for kind, fields in objects().items():
            for name, (type_, _) in fields.items():
                with self.subTest(f"{kind}.{name}"):
                    if name.endswith("_s"):
                        self.assertEqual(type_, "number")
                    self.assertEqual(type_ == "time", name.endswith("_at") or name == "since")

    def test_the_words_that_a_field_can_have(self) -> None:
        tree = ast.parse((ROOT / "queuectl" / "reasons.py").read_text(encoding="utf-8"))
        made = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and len(n.args) > 1]
        reasons = {
            n.args[1].value
            for n in made
            if ast.unparse(n.func) == "Why" and isinstance(n.args[1], ast.Constant)
        }
        self.assertGreater(len(reasons), 15)
        codes = {e.code for e in vars(errors).values() if isinstance(e, type)}
        for name, words in (
            ("why", reasons), ("error", codes), ("job", set(State)), ("run", set(Kind)),
        ):  # fmt: skip
            part = TEXT.split(f"\n### {name}\n")[1].split("\n### ")[0]
            with self.subTest(name):
                self.assertEqual({w for w in words if f"`{w}`" not in part}, set())


class ErrorTest(QueueTest):
    def test_an_error_is_an_object_on_stderr(self) -> None:
        book = Book()
        self.box.enqueue("--id", "taken", "true")
        exits = {"usage": 2, "not_found": 3, "conflict": 5}
        for code, *words in (
            ("usage", "enqueue"), ("usage", "nosuch"), ("usage", "list", "--bogus"),
            ("usage", "list", "--state", "bogus"), ("usage", "config", "get", "bogus"),
            ("usage", "worker"), ("usage", "prune"), ("usage", "schedule", "add", "x", "true"),
            ("not_found", "show", "nosuch"), ("not_found", "why", "nosuch"),
            ("not_found", "cancel", "nosuch"), ("not_found", "wait", "nosuch"),
            ("not_found", "schedule", "remove", "nosuch"),
            ("conflict", "enqueue", "--id", "taken", "true"), ("conflict", "dlq", "retry", "taken"),
        ):  # fmt: skip
            with self.subTest(" ".join(words)):
                said = call(*words, "--json", "-q", env={"QUEUECTL_DB": str(self.box.db)})
                self.assertEqual(said.code, exits[code], said)
                self.assertIn(said.out, ("", "[]\n"))
                (line,) = said.err.splitlines()
                told = json.loads(line)
                self.assertEqual(list(told), ["error"])
                book.check("error", told["error"], "stderr")
                self.assertEqual(told["error"]["code"], code)

    def test_a_command_without_json_refuses_it(self) -> None:
        for name, words in NO_JSON.items():
            if name in COMMANDS:
                with self.subTest(name):
                    said = self.box.run(*words, "--json")
                    self.assertEqual((said.code, said.out), (2, ""), said)
                    self.assertEqual(json.loads(said.err)["error"]["code"], "usage")

    def test_a_file_that_is_refused(self) -> None:
        self.box.db.write_text("not ours")
        said = self.box.run("list", "--json")
        self.assertEqual((said.code, said.out), (1, ""), said)
        self.assertEqual(json.loads(said.err)["error"]["code"], "refused")


if __name__ == "__main__":
    unittest.main()
