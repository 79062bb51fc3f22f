"""What the torture enqueues. The witness of a run is what the job itself wrote.

Each job takes a lock of its own, which everything it starts inherits: two living executions of
one job meet in the kernel. Its start and end lines are appended to the ledger with O_APPEND.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

# Exit status 1 of flock is "somebody has it"; any other says that flock itself was shot.
SCRIPT = r"""
say() {
    read -r up idle </proc/uptime
    echo "$1 $QUEUECTL_JOB_ID $QUEUECTL_JOB_RUN $$ $PPID $up $2" >>"$QT/ledger"
}
finish() { say end "$1"; exit "$1"; }
exec 9>>"$QT/locks/$QUEUECTL_JOB_ID"
flock -n 9
if [ $? -eq 1 ]; then
    say OVERLAP
    for process in /proc/[0-9]*; do
        if ls -l "$process/fd" 2>/dev/null | grep -q "locks/$QUEUECTL_JOB_ID\$"; then
            echo "$QUEUECTL_JOB_ID $QUEUECTL_JOB_RUN met $process" \
                "$(tr '\0' ' ' <"$process/cmdline") $(cut -d' ' -f3-8 "$process/stat")"
        fi
    done >>"$QT/overlaps"
fi
say start "$1"
case $1 in
    ok) finish 0 ;;
    fail) finish 3 ;;
    flaky) [ "$QUEUECTL_JOB_ATTEMPT" -gt 1 ] && finish 0; finish 1 ;;
    slow) sleep "$2"; finish 0 ;;
    daemon) (setsid sleep 60 &); sleep "$2"; finish 0 ;;
    emptied) (setsid env -i sleep 60 &); sleep "$2"; finish 0 ;;
    closed) "$QT_PYTHON" -ISc "$QT_CLOSED"; sleep "$2"; finish 0 ;;
    stubborn) trap '' TERM INT HUP; setsid sleep 60 & sleep 60; sleep 60; finish 0 ;;
    endless) sleep 60; finish 0 ;;
    poison) kill -9 "$PPID"; sleep 60; finish 0 ;;
    nested)
        id=$("$QT_PYTHON" -m queuectl -q enqueue --id "n.$QUEUECTL_JOB_ID.$QUEUECTL_JOB_RUN" \
            "exec sh '$QT/job' ok") && echo "$id" >>"$QT/acks"
        "$QT_PYTHON" -m queuectl list >/dev/null
        finish 0 ;;
    stopper) "$QT_PYTHON" -m queuectl worker stop >/dev/null; finish 0 ;;
esac
"""
# A daemon that keeps nothing but the witness's lock: only its environment tells whose it is.
CLOSED = (
    "import os\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        os.closerange(3, 9); os.closerange(10, 4096)\n"
    "        os.execv('/bin/sleep', ['sleep', '60'])\n"
    "    os._exit(0)\n"
    "os.wait()\n"
)


@dataclass(frozen=True)
class Kind:
    """A kind of job: how often, how long (s), and with which flags it is enqueued."""

    weight: float
    least_s: float = 0.0
    most_s: float = 0.0
    flags: tuple[str, ...] = ()


KINDS = {
    "ok": Kind(44),
    "fail": Kind(5, flags=("--max-retries", "1")),
    "flaky": Kind(8),
    "slow": Kind(13, 0.1, 1.2),
    "long": Kind(2, 2.5, 4.0),
    "longer": Kind(0.3, 5.0, 6.0),
    "daemon": Kind(6, 0.05, 0.8),
    "emptied": Kind(6, 0.05, 0.8),
    "closed": Kind(4, 0.05, 0.8),
    "stubborn": Kind(1.5, flags=("--timeout", "0.4", "--max-retries", "1")),
    "endless": Kind(2, flags=("--timeout", "0.5", "--max-retries", "1")),
    "poison": Kind(0.7, flags=("--max-retries", "1")),
    "nested": Kind(1.5),
    "stopper": Kind(0.2),
}


def command(script: Path, kind: str, share: float) -> list[str]:
    """Give the words of `enqueue` for a job; `share` (0..1) says how long it takes."""
    spec = KINDS[kind]
    length_s = spec.least_s + (spec.most_s - spec.least_s) * share
    name = "slow" if kind.startswith("long") else kind
    return [*spec.flags, f"exec sh '{script}' {name} {length_s:.2f}"]


def prepare(folder: Path) -> dict[str, str]:
    """Write the script and its places; give the environment that jobs need."""
    (folder / "job").write_text(SCRIPT)
    (folder / "locks").mkdir()
    for name in ("ledger", "acks", "overlaps"):
        (folder / name).touch()
    return {
        "QT": str(folder),
        "QT_PYTHON": sys.executable,
        "QT_CLOSED": CLOSED,
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    }
