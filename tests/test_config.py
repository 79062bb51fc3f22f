"""Settings: which value is in force, where it comes from, and what a job copies."""

from __future__ import annotations

import json
import unittest

from queuectl import config
from tests.calls import CallTest


class PrecedenceTest(CallTest):
    def entry(self, key: str, **env: str) -> tuple[str, str]:
        found = json.loads(self.ok("config", "get", key, "--json", env=env).out)
        return found["value"], found["source"]

    def test_environment_then_file_then_default(self) -> None:
        self.assertEqual(self.entry("max-retries"), ("3", "default"))
        self.ok("config", "set", "max-retries", "5")
        self.assertEqual(self.entry("max-retries"), ("5", "config"))
        self.assertEqual(self.entry("max_retries", QUEUECTL_MAX_RETRIES="7"), ("7", "environment"))
        self.assertEqual(self.entry("max-retries", QUEUECTL_MAX_RETRIES=""), ("5", "config"))
        self.ok("config", "unset", "max_retries")
        self.assertEqual(self.entry("max-retries"), ("3", "default"))

    def test_a_flag_beats_them_all_and_zero_is_a_value(self) -> None:
        self.ok("config", "set", "max-retries", "5")
        env = {"QUEUECTL_MAX_RETRIES": "7"}
        for words, wanted in (((), 7), (("--max-retries", "0"), 0)):
            job_id = self.enqueue(*words, "true", env=env)
            self.assertEqual(self.job(job_id)["max_retries"], wanted)

    def job(self, job_id: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.ok("show", job_id, "--json").out)
        return found

    def test_what_is_read_at_enqueue_is_copied_into_the_job(self) -> None:
        for key, value in (("max-retries", "1"), ("backoff-base", "1.5"), ("timeout", "90")):
            self.ok("config", "set", key, value)
        self.ok("config", "set", "backoff-max", "1h")
        job_id = self.enqueue("true")
        for key in ("max-retries", "backoff-base", "timeout", "backoff-max"):
            self.ok("config", "unset", key)
        job = self.job(job_id)
        found = (job["max_retries"], job["backoff_base"], job["timeout_s"])
        self.assertEqual(found, (1, 1.5, 90.0))
        with self.store() as store:
            self.assertEqual(store.job(job_id).backoff_max_s, 3600.0)

    def test_a_configured_timeout_can_be_lifted_for_one_job(self) -> None:
        self.ok("config", "set", "timeout", "1m")
        self.assertIsNone(self.job(self.enqueue("--timeout", "none", "true"))["timeout_s"])
        self.assertIsNone(self.job(self.enqueue('{"command":"true","timeout":null}'))["timeout_s"])
        self.assertEqual(self.job(self.enqueue("true"))["timeout_s"], 60.0)

    def test_every_setting_is_listed_with_a_default_that_reads(self) -> None:
        said = self.ok("config", "list", "--json")
        entries = json.loads(said.out)
        self.assertEqual([entry["key"] for entry in entries], list(config.SETTINGS))
        for entry in entries:
            with self.subTest(entry["key"]):
                self.assertEqual(entry["source"], "default")
                config.read(entry["key"], entry["value"], "default")
        self.assertEqual(self.ok("config", "list", "-q").lines, list(config.SETTINGS))
        for key, (default, _, what) in config.SETTINGS.items():
            line = next(line for line in self.ok("config", "list").lines if line.startswith(key))
            self.assertIn(default, line)
            self.assertIn(what, line)

    def test_a_value_that_is_wrong_hides_no_other(self) -> None:
        env = {"QUEUECTL_MAX_RETRIES": "lots"}
        what = "QUEUECTL_MAX_RETRIES: takes a whole number from 0 to 1000000000, not 'lots'"
        said = self.call("config", "list", env=env)
        self.assertEqual((said.code, said.err), (1, f"queuectl: {what}\n"))
        (line,) = (line for line in said.lines if line.startswith("max-retries"))
        self.assertIn("lots", line)
        self.assertIn("environment, WRONG", line)
        self.assertEqual(len(said.lines), len(config.SETTINGS) + 1)
        told = {e["key"]: e for e in json.loads(self.call("config", "list", "--json", env=env).out)}
        self.assertEqual(told["max-retries"]["error"], what)
        self.assertIsNone(told["timeout"]["error"])
        for words, code in ((("get", "max-retries"), 2), (("get", "timeout"), 0)):
            self.assertEqual(self.call("config", *words, env=env).code, code)

    def test_the_contracts_keys_and_defaults(self) -> None:
        wanted = {
            "max-retries": "3", "backoff-base": "2", "backoff-max": "1d", "timeout": "none",
            "capture-env": "all", "backoff-jitter": "0", "kill-grace": "10s",
            "shell": "/bin/sh", "log-max-size": "64MiB", "on-dead": "none", "on-finish": "none",
            "poll-interval": "1s", "keep-completed": "none", "durability": "full",
        }  # fmt: skip
        self.assertEqual({key: entry[0] for key, entry in config.SETTINGS.items()}, wanted)


if __name__ == "__main__":
    unittest.main()
