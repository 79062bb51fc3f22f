#!/usr/bin/env bash
# The whole flow against real workers, in a queue of its own: what a new user would do in the first
# five minutes, each step checked. Needs python3 and bash, touches nothing of yours, leaves nothing.
set -u
cd "$(dirname "$0")" || exit 1

for name in $(compgen -v QUEUECTL_); do unset "$name"; done
dir=$(mktemp -d)
export QUEUECTL_DB=$dir/demo.db QUEUECTL_BACKOFF_BASE=1
wrong=0

queuectl() { python3 -m queuectl "$@"; }

finish() { # whatever happened: no process and no file stays behind
    queuectl worker stop --now >/dev/null 2>&1
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

step() { printf '\n%s\n' "$*"; }

shows() { # TEXT WHAT: the output of WHAT contains TEXT
    local wanted=$1 got
    shift
    if got=$("$@" 2>&1) && [[ $got == *"$wanted"* ]]; then
        printf '  ok     %s\n' "$* shows '$wanted'"
    else
        printf '  WRONG  %s does not show %s. It said:\n%s\n' "$*" "'$wanted'" "$got"
        wrong=$((wrong + 1))
    fi
}

step "Four jobs go into the queue: a success, a failure, a command that does not exist, one in JSON."
# shellcheck disable=SC2016  # it is for the job's shell to expand
good=$(queuectl enqueue -q 'echo "hello from $(basename "$PWD")"')
bad=$(queuectl enqueue -q --max-retries 1 'echo about to fail; exit 3')
lost=$(queuectl enqueue -q --max-retries 0 'no-such-command-anywhere')
json=$(queuectl enqueue -q '{"id":"from-json","command":"sleep 0.2; echo done","priority":5}')
echo "  ids: $good $bad $lost $json"
shows "pending: 4" queuectl status
shows "from-json" queuectl list

step "Three workers start in the background, and everything comes to its end."
shows "Started 3 workers." queuectl worker start --count 3
queuectl wait -q "$good" "$bad" "$lost" "$json" >/dev/null
shows "completed: 2" queuectl status
shows "dead: 2" queuectl status

step "Each job kept what it wrote; a retry is marked in its log."
shows "hello from $(basename "$PWD")" queuectl logs "$good"
shows "=== queuectl: attempt 2 of 2" queuectl logs "$bad"
shows "not found" queuectl logs "$lost"

step "What is out of retries waits in the dead letter queue, with the reason."
shows "about to fail" queuectl dlq list
shows '"exit_code": 127' queuectl show "$lost" --json

step "A dead job can be tried again: its attempts start anew, its history stays."
shows "$bad" queuectl dlq retry "$bad"
queuectl wait -q "$bad" >/dev/null
shows '"run": 4' queuectl show "$bad" --json

step "A graceful stop lets the running job finish; the next one waits for the next start."
slow=$(queuectl enqueue -q "echo started > '$dir/started'; sleep 1; echo finished")
until [ -s "$dir/started" ]; do sleep 0.05; done
shows "Stopped 3 workers." queuectl worker stop
shows "completed" queuectl list --state completed --limit 1
shows "finished" queuectl logs "$slow"
later=$(queuectl enqueue -q 'echo later')
shows "pending: 1" queuectl status

step "After a restart everything is still there, and the waiting job runs."
shows "Started 1 worker." queuectl worker start
queuectl wait -q "$later" >/dev/null
shows "later" queuectl logs "$later"
shows "Stopped 1 worker." queuectl worker stop
shows "No workers are running." queuectl worker stop

if [ "$wrong" -gt 0 ]; then
    printf '\n%s of the things shown above are not true.\n' "$wrong"
    exit 1
fi
printf '\nAll of it is true. The queue was %s; it is gone now.\n' "$dir"
