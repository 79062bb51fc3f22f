"""`python3 -m tests.powercut [--images N] [--fast] [--json]`: replay a workload's writes up to a
power cut, thousands of times.

A workload (enqueues, a worker, checkpoints) is traced with all the data it writes. An image is
what a disk may hold when the power goes after the n-th call: everything that was synced by then,
and of the rest all, nothing, a random part, or random sectors. On each image the database must be
sound and hold every id that had been printed by then, and queuectl must take it.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import ROOT

CALLS = "openat,mkdir,pwrite64,write,ftruncate,fsync,fdatasync,unlink,unlinkat,rename,renameat"
SECTOR = 512
LINE = re.compile(r"(\d+) +(.*)")
CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)(?:<(.*?)>)?", re.DOTALL)
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
OPEN_FD = re.compile(r"(-?\d+|AT_FDCWD)<([^>]*)>")
# Not on the disk after a cut (shared memory), or nothing that anybody relies on.
IGNORED = re.compile(r".*-shm$|.*/run/.*|.*/logs/.*|.*/ballast$|.*/worker\.log.*")


@dataclass(frozen=True)
class Op:
    """A call that changes the disk, in the order of the trace.

    `what`: create, mkdir, write, cut (ftruncate), sync, gone, move, said. `covers`: how many
    calls were over when a sync began, which are those it makes durable.
    """

    what: str
    path: str
    offset: int = 0
    data: bytes = b""
    target: str = ""
    covers: int = 0


@dataclass
class Image:
    """What the disk holds: files, by a number that a name points to, as directories have it."""

    names: dict[str, int] = field(default_factory=dict)
    data: dict[int, bytearray] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


# -- the trace --------------------------------------------------------------------------------


def workload(folder: Path, jobs: int) -> None:
    """Enqueue in every way with a worker beside it, so that the WAL is written over, too."""
    from tests.torture.field import Field  # its clients cost a fork

    ground = Field(folder)
    acks = str(folder / "acks")
    words = ["enqueue", "-q"]

    def call(*words: str, out: str = "/dev/null") -> None:
        pid = ground.call(" ".join(words[:2]), *words, out=out)
        _, status = os.waitpid(pid, 0)
        if status:
            raise SystemExit(f"{words}: {os.waitstatus_to_exitcode(status)}")

    for number in range(jobs // 4):
        call(*words, f"echo {number}", out=acks)
    call("worker", "start", "--count", "2")
    for number in range(jobs // 2):
        named = ["--id", f"mine-{number}"] if number % 2 else []
        call(*words, *named, "--max-retries", "0", f"exit {number % 3}", out=acks)
    (folder / "file").write_text("".join(f"true {number}\n" for number in range(jobs // 4)))
    call(*words, "--file", str(folder / "file"), out=acks)
    for number in range(jobs // 4):
        call(*words, "--delay", "1h", f"echo {number}", out=acks)
    call("worker", "stop")


def record(folder: Path, jobs: int) -> list[Op]:
    """Run the workload under strace and give the calls that matter."""
    trace = folder.parent / "trace"
    command = ["strace", "-f", "--seccomp-bpf", "-y", "-s", "1000000", "-e", f"trace={CALLS}"]
    command += ["-e", "signal=none", "-o", str(trace), sys.executable, "-m", "tests.powercut"]
    done = subprocess.run(
        [*command, "--workload", str(folder), "--jobs", str(jobs)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=600,
    )
    if done.returncode:
        raise SystemExit(f"the workload failed with status {done.returncode}")
    with open(trace, encoding="latin-1") as lines:
        return list(read_trace(lines, str(folder)))


def read_trace(lines: Iterator[str], folder: str) -> Iterator[Op]:
    """Turn strace's lines into operations; a call split by others counts from its end."""
    begun: dict[str, tuple[str, int]] = {}
    over = 0
    for line in lines:
        pid, text = LINE.match(line.rstrip("\n")).groups()  # type: ignore[union-attr]
        covers = over
        if text.endswith("<unfinished ...>"):
            head = text.removesuffix("<unfinished ...>").rstrip()
            begun[pid] = (head, over)
            # What is said counts from when it was begun: a reader may have it from then on.
            if head.startswith("write(") and f"<{folder}/acks>" in head:
                op = _said(head)
                over += 1
                yield op
            continue
        if text.startswith("<... "):
            head, covers = begun.pop(pid, ("", over))
            text = head + text.partition("resumed>")[2]
            if head.startswith("write(") and f"<{folder}/acks>" in head:
                continue
        found = CALL.match(text)
        if found and int(found[3]) >= 0 and (op_ := _op(found, folder, covers)):
            over += 1
            yield op_


def _said(text: str) -> Op:
    return Op("said", "", data=_bytes(STRING.findall(text)[0]))


def _op(found: re.Match[str], folder: str, covers: int) -> Op | None:
    name, text, result, opened = found.groups()
    strings = STRING.findall(text)
    if name == "openat":
        path = opened or ""
        if "O_CREAT" not in text or not _concerns(path, folder):
            return None
        return Op("create", path)
    if name in ("mkdir", "unlink", "unlinkat", "rename", "renameat"):
        return _named(name, text, strings, folder)
    path = OPEN_FD.match(text)[2]  # type: ignore[index]
    if name == "write" and path == f"{folder}/acks":
        return _said(text)
    if not _concerns(path, folder):
        return None
    if name in ("fsync", "fdatasync"):
        return Op("sync", path, covers=covers)
    if name == "ftruncate":
        return Op("cut", path, int(text.rpartition(",")[2]))
    offset = int(text.rpartition(",")[2]) if name == "pwrite64" else -1  # -1: where it ends
    return Op("write", path, offset, _bytes(strings[0])[: int(result)])


def _named(name: str, text: str, strings: list[str], folder: str) -> Op | None:
    folders = [match[2] for match in OPEN_FD.finditer(STRING.sub('""', text))]
    paths = [_bytes(each).decode("latin-1") for each in strings]
    if name in ("unlinkat", "renameat"):
        paths = [os.path.join(base, path) for base, path in zip(folders, paths, strict=False)]
    if not _concerns(paths[0], folder):
        return None
    if name.startswith("rename"):
        return Op("move", paths[0], target=paths[1])
    return Op("mkdir" if name == "mkdir" else "gone", paths[0])


def _concerns(path: str, folder: str) -> bool:
    inside = path == folder or path.startswith((f"{folder}/q.db", f"{folder}/q/", f"{folder}/q"))
    return inside and not IGNORED.match(path)


def _bytes(literal: str) -> bytes:
    return ast.literal_eval("b" + literal)  # type: ignore[no-any-return]


# -- the disk ---------------------------------------------------------------------------------


def cut(ops: list[Op], after: int, choose: Callable[[Op], bytes | None]) -> Image:
    """Give the disk after the first `after` calls and a power cut.

    `choose` is asked about each write that was not synced: its bytes, or None where it is lost
    (of a torn one, NUL marks nothing: see `_torn`).
    """
    durable = _durable(ops, after)
    image = Image()
    numbers: dict[str, int] = {}  # where a path leads for the programs that ran
    for index, op in enumerate(ops[:after]):
        if op.what in ("said", "sync"):
            continue
        kept = index in durable
        if op.what == "create":
            if op.path in numbers:
                continue
            numbers[op.path] = index
            image.data[index] = bytearray()
            if kept or choose(op) is not None:
                image.names[op.path] = index
        elif op.what == "mkdir":
            if kept or choose(op) is not None:
                image.folders.add(op.path)
        elif op.what == "gone":
            numbers.pop(op.path, None)
            if kept or choose(op) is not None:
                image.names.pop(op.path, None)
        elif op.what == "move":
            numbers[op.target] = numbers.pop(op.path)
            if kept or choose(op) is not None:
                image.names.pop(op.path, None)
                image.names[op.target] = numbers[op.target]
        elif op.path in numbers:
            _apply(image.data[numbers[op.path]], op, kept, choose)
    return image


def _durable(ops: list[Op], after: int) -> set[int]:
    """List the calls that a sync before the cut has made durable: of that file or directory."""
    durable: set[int] = set()
    pending: dict[str, list[int]] = {}
    for index, op in enumerate(ops[:after]):
        if op.what in ("create", "mkdir", "gone", "move"):
            pending.setdefault(os.path.dirname(op.target or op.path), []).append(index)
            if op.what == "move":
                pending.setdefault(op.target, []).extend(pending.pop(op.path, []))
        elif op.what in ("write", "cut"):
            pending.setdefault(op.path, []).append(index)
        elif op.what == "sync":
            waiting = pending.get(op.path, [])
            durable.update(number for number in waiting if number < op.covers)
            pending[op.path] = [number for number in waiting if number >= op.covers]
    return durable


def _apply(data: bytearray, op: Op, kept: bool, choose: Callable[[Op], bytes | None]) -> None:
    if op.what == "cut":
        if kept or choose(op) is not None:
            del data[op.offset :]
            data.extend(bytes(op.offset - len(data)))
        return
    start = len(data) if op.offset < 0 else op.offset
    if kept or (mask := choose(op)) == b"":
        mask = b"\1" * (len(op.data) // SECTOR + 1)
    if mask is None:
        return
    for number, sector in enumerate(range(0, len(op.data), SECTOR)):
        piece = op.data[sector : sector + SECTOR]
        at = start + sector
        if len(data) < at + len(piece):
            data.extend(bytes(at + len(piece) - len(data)))
        if mask[number]:
            data[at : at + len(piece)] = piece


def _choosers(dice: random.Random) -> dict[str, Callable[[Op], bytes | None]]:
    """Give what may become of an unsynced call: b"" whole, None lost, else a mask of sectors."""

    def torn(op: Op) -> bytes | None:
        if op.what != "write":
            return b"" if dice.random() < 0.5 else None
        return bytes(dice.random() < 0.5 for _ in range(len(op.data) // SECTOR + 1))

    return {
        "none": lambda op: None,
        "all": lambda op: b"",
        "random": lambda op: b"" if dice.random() < 0.5 else None,
        "torn": torn,
    }


# -- the check --------------------------------------------------------------------------------


def lay_out(image: Image, source: str, target: Path) -> None:
    """Write an image as files."""
    for folder in sorted(image.folders):
        path = target / os.path.relpath(folder, source)
        if path.parent.is_dir():
            path.mkdir(mode=0o700, exist_ok=True)
    for name, number in image.names.items():
        path = target / os.path.relpath(name, source)
        if path.parent.is_dir():
            path.write_bytes(image.data[number])
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)


def faults_of(target: Path, said: set[str]) -> list[str]:
    """Open an image with SQLite, then with queuectl; give what is wrong with it."""
    try:
        ids = _ids(target / "q.db") if (target / "q.db").exists() else set()
    except (sqlite3.Error, ValueError) as error:
        return [f"corrupt: {error}"]
    if missing := said - ids:
        return [f"lost: {' '.join(sorted(missing))}"]
    return _refusal(target, said)


def _ids(db: Path) -> set[str]:
    connection = sqlite3.connect(db)
    try:
        text = "; ".join(row[0] for row in connection.execute("PRAGMA integrity_check"))
        if text != "ok":
            raise ValueError(text)
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'job'").fetchone():
            return set()
        return {row[0] for row in connection.execute("SELECT id FROM job")}
    finally:
        connection.close()


def _refusal(target: Path, said: set[str]) -> list[str]:
    """Say why queuectl does not take an image; the next enqueue must work, too."""
    from queuectl.api import Queue
    from queuectl.errors import QueueError

    queue = Queue(str(target / "q.db"))
    try:
        known = {job.id for job in queue.jobs()}
        queue.enqueue("true", cwd="/")
    except QueueError as error:
        return [f"refused: {error}"]
    finally:
        queue.close()
    return [f"not listed: {' '.join(sorted(said - known))}"] if said - known else []


def points(ops: list[Op], count: int, dice: random.Random) -> list[int]:
    """Choose where to cut: around syncs and answers first, then anywhere."""
    telling = {0, len(ops)}
    for index, op in enumerate(ops):
        if op.what in ("sync", "said", "create", "move", "gone", "cut", "mkdir"):
            telling |= {index, index + 1}
    telling = set(dice.sample(sorted(telling), min(len(telling), count * 3 // 4)))
    rest = sorted(set(range(len(ops) + 1)) - telling)
    return sorted(telling | set(dice.sample(rest, min(len(rest), count - len(telling)))))


def replay(ops: list[Op], source: str, images: int, seed: int) -> dict[str, object]:
    """Make so many images, check each, and give the numbers."""
    dice = random.Random(seed)
    choosers = _choosers(dice)
    made: Counter[str] = Counter()
    findings: list[str] = []
    with tempfile.TemporaryDirectory(prefix="queuectl-powercut-", dir=_memory()) as parent:
        for after in points(ops, -(-images // len(choosers)), dice):
            told = b" ".join(op.data for op in ops[:after] if _is_said(op))
            said = set(told.decode().split())
            for name, choose in choosers.items():
                target = Path(parent) / "image"
                target.mkdir()
                lay_out(cut(ops, after, choose), source, target)
                findings += [f"after call {after}, {name}: {t}" for t in faults_of(target, said)]
                shutil.rmtree(target)
                made[name] += 1
    kinds = Counter(finding.split(": ")[1] for finding in findings)
    return {
        "calls": len(ops),
        "syncs": sum(op.what == "sync" for op in ops),
        "acknowledged": sum(len(op.data.split()) for op in ops if _is_said(op)),
        "images": sum(made.values()),
        "by_kind": dict(made),
        "corrupt": kinds["corrupt"],
        "acknowledged_lost": kinds["lost"],
        "refused": kinds["refused"] + kinds["not listed"],
        "findings": findings[:50],
    }


def _is_said(op: Op) -> bool:
    return op.what == "said"


def _memory() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def main() -> int:
    """Trace, replay, report; 0 where no image was bad, 1 where one was, 77 without strace."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.powercut", description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--fast", action="store_true", help="500 images of a shorter workload")
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--workload", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.workload:
        workload(options.workload, options.jobs)
        return 0
    if not shutil.which("strace"):
        print("skipped: there is no strace", file=sys.stderr)
        return 77
    images, jobs = (500, 32) if options.fast else (options.images, options.jobs)
    with tempfile.TemporaryDirectory(prefix="queuectl-powercut-") as parent:
        folder = Path(os.path.realpath(parent)) / "queue"
        folder.mkdir(mode=0o700)
        ops = record(folder, jobs)
        found = replay(ops, str(folder), images, options.seed)
    print(json.dumps(found, indent=1) if options.json else _text(found))
    bad = found["corrupt"] or found["acknowledged_lost"] or found["refused"]
    return 1 if bad else 0


def _text(found: dict[str, object]) -> str:
    rows = [f"| {key.replace('_', ' ')} | {value} |" for key, value in found.items()]
    findings = found["findings"]
    assert isinstance(findings, list)
    return "\n".join(["| what | |", "|---|---|", *rows[:-1], *findings])


if __name__ == "__main__":
    sys.exit(main())
