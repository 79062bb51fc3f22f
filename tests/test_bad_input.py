"""Contract 5 and the exit table of contract 3: one line, the exit code, nothing stored."""

from __future__ import annotations

import dataclasses
import json
import os
import unittest

from queuectl.lifecycle import Kind, Outcome, decide
from tests.calls import CallTest, Said
from tests.store import NOW, enlist

HUGE = "9" * 400
JOB = '{"command":"true",%s}'

# The words behind `enqueue`, and what the one line must say.
ENQUEUE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("ls", "foo"), 'queuectl enqueue: quote the command: queuectl enqueue "ls foo", or: -- ls'),
    (("echo", "$HOME", "it's"), """queuectl enqueue 'echo $HOME it'"'"'s', or: -- echo '$HOME' """),
    (("ls", "-l"), 'quote the command: queuectl enqueue "ls -l", or: -- ls -l'),
    (("--label", "x", "make", "-j4", "all"), 'enqueue "make -j4 all"'),
    ((), "there is no command"),
    (("",), "the command is empty"),
    ((" \t\n",), "the command is empty"),
    (("--",), "the command is empty"),
    (("--", ""), "the command is empty"),
    (("true", "--", "true"), "before -- and after it"),
    (("a\0b",), "NUL"),
    (("--", "echo", "a\0b"), "NUL"),
    (("a\udcff",), "not valid UTF-8"),
    (("x" * 131_072,), "131072 bytes long"),
    (("--", "echo", "x" * 131_072), "131072 bytes long"),
    (("--priority", "x", "true"), "--priority takes a whole number"),
    (("--priority", "1.5", "true"), "--priority takes a whole number"),
    (("--priority", HUGE, "true"), "--priority takes a whole number from -1000000000 to"),
    (("--priority", "9" * 20, "true"), "--priority takes a whole number from -1000000000 to"),
    (("--priority", "1000000001", "true"), "from -1000000000 to 1000000000, not"),
    (("--max-retries", "-1", "true"), "--max-retries takes a whole number from 0 to"),
    (("--max-retries", "nan", "true"), "--max-retries"),
    (("--backoff-base", "nan", "true"), "--backoff-base takes a number"),
    (("--backoff-base", "inf", "true"), "--backoff-base takes a number"),
    (("--backoff-base", "-1", "true"), "--backoff-base takes a number"),
    (("--backoff-base", "1e300", "true"), "--backoff-base takes a number from 0 to 1000000000"),
    (("--delay", "-5", "true"), "--delay takes no negative length"),
    (("--delay", "soon", "true"), "--delay takes a length"),
    (("--delay", "99999999999d", "true"), "too long"),
    (("--at", "soon", "true"), "--at takes a time"),
    (("--at", "12:00", "--delay", "5", "true"), "exclude each other"),
    (("--timeout", "0", "true"), "--timeout takes a length above 0"),
    (("--timeout", "-1s", "true"), "--timeout takes no negative length, as '-1s' is"),
    (("--id", "../x", "true"), "'../x' is no name"),
    (("--id", "7", "true"), "all digits"),
    (("--id", "", "true"), "is no name"),
    (("--id", "x" * 65, "true"), "is no name"),
    (("--id", "a\n", "true"), "is no name"),
    (("--id", "a", "--after", "a", "true"), "cannot wait for itself"),
    (("--queue", "a b", "true"), "is no name"),
    (("--env", "=x", "true"), "no name of a variable"),
    (("--env", "A=\0", "true"), "NUL"),
    (("--cwd", "", "true"), "--cwd is empty"),
    (("--label", "\udcff", "true"), "--label is not valid UTF-8"),
    (("--no-retry-on", "0", "true"), "exit codes from 1 to 255"),
    (("--no-retry-on", "256", "true"), "exit codes from 1 to 255"),
    (("--priorty", "5", "true"), "unknown flag --priorty. Did you mean --priority?"),
    (("--prio", "5", "true"), "unknown flag --prio"),
    (("--id",), "expected one argument"),
    (("--file", "/nonexistent/jobs"), "/nonexistent/jobs"),
    (('{"command":',), "does not parse"),
    (('{"command":"true"} x',), "does not parse"),
    (('{"command":' + "[" * 100_000,), "does not parse"),
    (("{}",), "there is no command"),
    (('{"command":""}',), "the command is empty"),
    (('{"command":5}',), '"command" takes text'),
    (('{"command":"a\\u0000b"}',), "NUL"),
    (('{"command":"\\ud800"}',), "not valid UTF-8"),
    (('{"command":"true","command":"false"}',), "stands there twice"),
    (('{"argv":[]}',), '"argv" is empty'),
    (('{"argv":[""]}',), "the command is empty"),
    (('{"argv":"ls"}',), "a list of words"),
    ((JOB % '"argv":["true"]',), "exclude each other"),
    ((JOB % '"prioritty":1',), '"prioritty" is unknown. Did you mean priority?'),
    ((JOB % '"\\u001b[31m":1',), "is unknown"),
    ((JOB % '"priority":NaN',), "NaN"),
    ((JOB % '"priority":-Infinity',), "Infinity"),
    ((JOB % '"priority":1e400',), '"priority" takes a whole number'),
    ((JOB % f'"priority":{HUGE}',), "takes a whole number from -1000000000 to"),
    ((JOB % f'"priority":{"9" * 5_000}',), "does not parse"),
    ((JOB % '"priority":true',), '"priority" takes a whole number'),
    ((JOB % '"max_retries":-1',), '"max_retries" takes a whole number from 0 to'),
    ((JOB % '"timeout":0',), '"timeout" takes a length above 0'),
    ((JOB % '"delay":-1',), '"delay"'),
    ((JOB % '"id":"../x"',), "is no name"),
    ((JOB % '"id":7',), '"id" takes text'),
    ((JOB % '"id":"7"',), "all digits"),
    ((JOB % '"id":"a","after":"a"',), "cannot wait for itself"),
    ((JOB % '"state":"dead"',), '"state":"pending"'),
    ((JOB % '"attempts":1',), '"attempts":0'),
    ((JOB % '"env":{"A=B":"c"}',), "no name of a variable"),
    ((JOB % '"env":{"A":5}',), "takes text"),
    ((JOB % '"env":{"\\ud800":"x"}',), "not valid UTF-8"),
)  # fmt: skip

# Any other command with exit status 2.
USAGE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("enque", "true"), "there is no command 'enque'. Did you mean enqueue?"),
    (("xyzzy",), "there is no command 'xyzzy'. To see them: queuectl --help"),
    (("stop",), "there is no command 'stop'. Did you mean worker stop?"),
    (("pause",), "Did you mean schedule pause or queue pause?"),
    (("\x1b[31m",), "there is no command"),
    (("--frob", "list"), "unknown flag --frob"),
    (("--db", "", "list"), "--db takes a path"),
    (("--color", "maybe", "list"), "invalid choice"),
    (("help", "nosuch"), "there is no command 'nosuch'"),
    (("list", "--stat", "dead"), "unknown flag --stat. Did you mean --state?"),
    (("list", "--state", "asleep"), "choose from 'pending', 'processing'"),
    (("list", "--limit", "-1"), "--limit takes a whole number"),
    (("list", "--since", "x"), "--since takes a length"),
    (("list", "--queue", "a b"), "is no name"),
    (("list", "--label", "\udcff"), "--label is not valid UTF-8"),
    (("list", "all"), "unknown argument 'all'"),
    (("show",), "ID"),
    (("show", "1", "2"), "unknown argument '2'"),
    (("cancel",), "ID"),
    (("logs", "-n", "x"), "-n takes a whole number"),
    (("dlq",), "list|retry|purge"),
    (("dlq", "frob"), "queuectl dlq: there is no 'frob'. It takes list, retry, purge"),
    (("dlq", "lsit"), "there is no 'lsit'. Did you mean list?"),
    (("worker", "strat"), "there is no 'strat'. Did you mean start?"),
    (("queue", "sett"), "there is no 'sett'. Did you mean set?"),
    (("dlq", "retry"), "name jobs"),
    (("dlq", "retry", "--all", "1"), "name jobs"),
    (("dlq", "purge"), "name jobs"),
    (("dlq", "purge", "--older-than", "x"), "--older-than takes a length"),
    (("prune",), "--older-than"),
    (("worker", "start", "--count", "0"), "--count takes a whole number from 1 to"),
    (("worker", "scale", "-1"), "queuectl worker: N takes a whole number from 0 to"),
    (("worker", "scale", "1001"), "N takes a whole number from 0 to 1000, not '1001'"),
    (("worker", "start", "--count", "x"), "--count takes a whole number"),
    (("worker", "start", "--queue", "a b"), "is no name"),
    (("worker", "stop", "--timeout", "x"), "--timeout takes a length"),
    (("config", "set", "max-retrys", "5"), "'max-retrys'. Did you mean max-retries?"),
    (("config", "get", "nosuch"), "there is no setting 'nosuch'"),
    (("config", "unset", "nosuch"), "there is no setting 'nosuch'"),
    (("config", "set", "max-retries", "-1"), "takes a whole number from 0 to"),
    (("config", "set", "backoff-base", "nan"), "takes a number"),
    (("config", "set", "poll-interval", "0"), "takes a length above 0"),
    (("config", "set", "shell", ""), "is empty"),
    (("config", "set", "durability", "fast"), "takes full, normal"),
    (("config", "set", "log-max-size", "big"), "takes a size"),
)  # fmt: skip


class OneLineTest(CallTest):
    """What every refusal has in common."""

    def refused(self, words: tuple[str, ...], code: int, text: str, **more: object) -> Said:
        said = self.call(*words, **more)
        self.assertEqual((said.code, said.out), (code, ""), said)
        self.assertEqual(said.err.count("\n"), 1, said)
        self.assertTrue(said.err[:-1].isprintable(), said)
        self.assertTrue(said.err.startswith("queuectl"), said)
        self.assertIn(text, said.err)
        self.assertNotIn("Traceback", said.err)
        self.assertNotIn("internal error", said.err)
        self.assertLess(len(said.err), 700)
        return said

    def end(self, kind: Kind, **options: object) -> str:
        """Enqueue a job, run it as a worker would to this end, and give its id."""
        job_id = self.enqueue("--max-retries", "0", "--queue", "end", "false")
        with self.store() as store:
            job = store.claim(dataclasses.replace(enlist(store), queues="end"), NOW)
            assert job is not None
            outcome = Outcome(kind, **options)  # type: ignore[arg-type]
            store.finish(job, outcome, decide(job, outcome, NOW), NOW, None)
        return job_id


class UsageTest(OneLineTest):
    def test_a_bad_enqueue_stores_nothing(self) -> None:
        for words, text in ENQUEUE:
            with self.subTest(ascii(words)[:70]):
                code = 1 if words[0:1] == ("--file",) else 2
                self.refused(("enqueue", *words), code, text)
        self.assertEqual(self.count(), 0)

    def test_a_bad_script_on_standard_input_stores_nothing(self) -> None:
        for script, text in (
            (b"", "the command is empty"),
            (b"\n \n", "the command is empty"),
            (b"\xff", "not valid UTF-8"),
            (b"a\0b", "NUL"),
            (b"x" * 140_000, "140000 bytes long, and a job takes at most 131071"),
        ):
            with self.subTest(script[:10]):
                self.refused(("enqueue", "-"), 2, text, stdin=script)
        self.assertEqual(self.count(), 0)

    def test_other_commands(self) -> None:
        for words, text in USAGE:
            with self.subTest(ascii(words)):
                self.refused(words, 2, text)

    def test_a_bad_setting_in_the_environment(self) -> None:
        env = {"QUEUECTL_MAX_RETRIES": "many"}
        self.refused(("enqueue", "true"), 2, "QUEUECTL_MAX_RETRIES", env=env)
        self.assertEqual(self.count(), 0)

    def test_alone_it_prints_the_short_help(self) -> None:
        said = self.call()
        self.assertEqual((said.code, said.err), (2, ""))
        self.assertIn("queuectl enqueue", said.out)

    def test_json_where_it_does_not_exist(self) -> None:
        said = self.call("logs", "--json")
        self.assertEqual(said.code, 2)
        self.assertEqual(json.loads(said.err)["error"]["code"], "usage")

    def test_an_error_under_json_is_one_object(self) -> None:
        for words, code, name in (
            (("enqueue", "--json", "--id", "\x1b", "true"), 2, "usage"),
            (("show", "nosuch", "--json"), 3, "not_found"),
            (("--json", "xyzzy"), 2, "usage"),
        ):
            with self.subTest(words):
                said = self.call(*words)
                self.assertEqual((said.code, said.out, said.err.count("\n")), (code, "", 1))
                error = json.loads(said.err)["error"]
                self.assertEqual(list(error), ["code", "message", "hint"])
                self.assertEqual(error["code"], name)

    def test_what_looks_odd_and_is_taken(self) -> None:
        for words in (
            ("--priority", "-5", "true"),
            ("{ make; make test; }",),
            ("x" * 131_071,),
            ("--", "-l"),
            ("--", "--", "--id"),
            ("--label", "", "true"),
            ("ä\n\x1b[31m",),
            ('{ \n"command":"true","state":"pending","attempts":0,"created_at":"x"}',),
        ):
            with self.subTest(ascii(words)[:60]):
                self.ok("enqueue", *words)


class ExitTest(OneLineTest):
    """The exit table, from 0 to 5."""

    def test_0_for_an_empty_list_and_what_is_so_already(self) -> None:
        for words in (("list",), ("dlq", "list"), ("worker", "list"), ("status",), ("list", "-q")):
            with self.subTest(words):
                self.ok(*words)
        self.assertEqual(json.loads(self.ok("list", "--json").out), [])
        job_id = self.enqueue("true")
        self.assertEqual(self.ok("cancel", job_id).err, "")
        again = self.ok("cancel", job_id)
        self.assertIn("already", again.err)
        self.assertIn("was not set", self.ok("config", "unset", "timeout").err)

    def test_3_for_what_does_not_exist(self) -> None:
        for words in (
            ("show", "nosuch"), ("show", "7"), ("show", "07"), ("show", "9" * 500),
            ("show", "\x1b[31m\u202e"), ("show", "\udcff"), ("show", "../../etc/passwd"),
            ("logs", "nosuch"), ("logs",), ("cancel", "nosuch"), ("dlq", "retry", "nosuch"),
            ("enqueue", "--after", "nosuch", "true"),
        ):  # fmt: skip
            with self.subTest(ascii(words)):
                self.refused(words, 3, "no")
        self.assertEqual(self.count(), 0)

    def test_5_for_what_exists_and_forbids_it(self) -> None:
        self.enqueue("--id", "mine", "true")
        done = self.end(Kind.SUCCEEDED, exit_code=0)
        with self.store() as store:
            before = store.select({}, None)
        for words, text in (
            (("enqueue", "--id", "mine", "false"), "mine is taken"),
            (("enqueue", JOB % '"id":"mine"'), "mine is taken"),
            (("cancel", done), "is completed"),
            (("dlq", "retry", done), "is completed, not dead"),
            (("dlq", "retry", "mine"), "is pending, not dead"),
        ):
            with self.subTest(ascii(words)):
                self.refused(words, 5, text)
        with self.store() as store:
            self.assertEqual(store.select({}, None), before)

    def test_a_purge_of_named_jobs_counts_those_that_are_gone(self) -> None:
        dead, waits = self.end(Kind.FAILED, exit_code=1), self.enqueue("true")
        said = self.call("dlq", "purge", "-q", dead, waits, "nosuch", "--yes")
        self.assertEqual((said.code, said.out, said.err.count("\n")), (3, "1\n", 2))
        self.assertEqual(self.count(), 1)

    def test_the_others_named_are_still_done_and_3_outranks_5(self) -> None:
        done = self.end(Kind.SUCCEEDED, exit_code=0)
        first, last = self.enqueue("true"), self.enqueue("true")
        said = self.call("cancel", first, done, "nosuch", last)
        self.assertEqual(said.code, 3)
        self.assertEqual(said.err.count("\n"), 2)
        with self.store() as store:
            self.assertEqual(store.job(first).state, "cancelled")
            self.assertEqual(store.job(last).state, "cancelled")
        self.assertEqual(self.call("cancel", self.enqueue("true"), done).code, 5)

    def test_2_where_a_confirmation_is_needed_and_nobody_is_there(self) -> None:
        dead = self.end(Kind.FAILED, exit_code=1)
        self.refused(("dlq", "purge", "--all"), 2, "--yes")
        with self.store() as store:
            self.assertEqual(store.job(dead).state, "dead")
        self.assertIn("1", self.ok("dlq", "purge", "--all", "-n").out)
        self.assertIn("1", self.ok("dlq", "purge", "--all", "--yes").out)
        self.assertEqual(self.count(), 0)


class HarmlessTest(OneLineTest):
    """Text from jobs and commands, as a terminal gets it."""

    EVIL = "a\x1b[31mb\x07\r\nc\td\x9b2J\u202eexe.\u2066\u200b\x7f\x00"[:-1]

    def test_every_view_is_harmless_and_keeps_its_lines(self) -> None:
        evil = self.EVIL
        dead = self.end(Kind.FAILED, exit_code=1, error=evil)
        job_id = self.enqueue("--label", evil, "--cwd", "/" + evil, evil)
        os.makedirs(self.place.logs, exist_ok=True)
        for one in (dead, job_id):
            with open(self.place.log(one), "wb") as log:
                log.write(evil.encode() + b"\xff\x1b]0;x\x07\x1b[2J\n")
        for words, lines in (
            (("list",), 3),
            (("list", "--label", evil), 2),
            (("list", "--color", "never"), 3),
            (("dlq", "list"), 2),
            (("show", job_id), None),
            (("show", dead), None),
            (("status",), None),
            (("queue", "list"), None),
            (("worker", "list"), None),
            (("config", "list"), None),
        ):
            with self.subTest(words[:2]):
                said = self.ok(*words)
                for line in said.out.split("\n"):
                    self.assertTrue(line.isprintable() and not set(line) & {"\u202e", "\u2066"})
                if lines is not None:
                    self.assertEqual(said.out.count("\n"), lines)
        for words in (("list", "--json"), ("show", job_id, "--json"), ("dlq", "list", "--json")):
            with self.subTest(words):
                said = self.ok(*words)
                self.assertEqual(said.out.count("\n"), 1)
                self.assertNotIn("\x1b", said.out)
        self.assertEqual(json.loads(self.ok("show", job_id, "--json").out)["command"], evil)

    def test_only_logs_are_raw(self) -> None:
        job_id = self.end(Kind.FAILED, exit_code=1)
        os.makedirs(self.place.logs, exist_ok=True)
        raw = bytes(range(256)) * 3
        with open(self.place.log(job_id), "wb") as log:
            log.write(raw)
        self.assertEqual(self.ok("logs", job_id).raw, raw)

    def test_an_error_that_quotes_is_harmless_too(self) -> None:
        for words in (
            ("enqueue", "--id", self.EVIL, "true"),
            ("enqueue", self.EVIL, self.EVIL),
            ("enqueue", "--" + self.EVIL),
            ("list", self.EVIL),
            ("list", "--state", self.EVIL),
            ("config", "get", self.EVIL),
            ("--db", "/dev/null/" + self.EVIL, "worker", "scale", "0"),
        ):
            with self.subTest(words[:2]):
                said = self.call(*words)
                self.assertIn(said.code, (1, 2))
                self.assertEqual(said.err.count("\n"), 1)
                self.assertTrue(said.err[:-1].isprintable(), said)
                self.assertFalse(set(said.err) & {"\u202e", "\u2066"}, said)


if __name__ == "__main__":
    unittest.main()
