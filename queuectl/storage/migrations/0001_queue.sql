-- The whole queue. Forward only: never edit a released migration, add the next number.
--
-- Instants are whole milliseconds since 1970, UTC. Lengths are seconds.
-- The life of a job, as lifecycle.TRANSITIONS has it:
--
--   pending --claim--> processing --finish--> completed
--      ^  \               |    \----------->  failed --claim--> processing
--      |   cancel         |     \---------->  dead   --retry--> pending
--      |     \            |      \--------->  cancelled
--      |      cancelled   interrupted
--      +------------------+

CREATE TABLE environment (
    id      INTEGER PRIMARY KEY,
    digest  INTEGER NOT NULL,             -- length and sum of data: finds the row, data proves it
    data    BLOB    NOT NULL,             -- K=V, separated by NUL, as execve takes it
    uses    INTEGER NOT NULL CHECK (uses >= 0)
) STRICT;
CREATE INDEX environment_digest ON environment (digest);

CREATE TABLE queue (
    name            TEXT    PRIMARY KEY,
    paused          INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    concurrency     INTEGER CHECK (concurrency > 0),       -- NULL: no limit; else rows in slot
    rate_starts     INTEGER CHECK (rate_starts > 0),       -- at most so many starts ...
    rate_window_ms  INTEGER CHECK (rate_window_ms > 0),    -- ... in any window of this length
    CHECK ((rate_starts IS NULL) = (rate_window_ms IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE job (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,      -- never reused within one file
    name            TEXT,                                   -- the id its owner chose
    id              TEXT GENERATED ALWAYS AS (coalesce(name, CAST(seq AS TEXT))) VIRTUAL,
    command         TEXT    NOT NULL CHECK (command <> ''),
    argv            TEXT,                                   -- JSON list: exec without a shell
    queue           TEXT    NOT NULL,
    priority        INTEGER NOT NULL,
    label           TEXT,
    state           TEXT    NOT NULL CHECK (state IN
        ('pending', 'processing', 'completed', 'failed', 'dead', 'cancelled')),
    -- A claim only ever looks at ready = 1. Held, blocked and future jobs are not ready, so
    -- a hundred thousand of them cost a claim nothing; what has become due is promoted.
    ready           INTEGER NOT NULL CHECK (ready IN (0, 1)),
    held            INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
    waits           INTEGER NOT NULL DEFAULT 0 CHECK (waits >= 0),  -- unfinished parents
    attempts        INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    run             INTEGER NOT NULL DEFAULT 0 CHECK (run >= attempts),  -- the fence
    max_retries     INTEGER NOT NULL CHECK (max_retries >= 0),
    backoff_base    REAL    NOT NULL CHECK (backoff_base >= 0),
    backoff_max_s   REAL    NOT NULL CHECK (backoff_max_s >= 0),
    timeout_s       REAL    CHECK (timeout_s > 0),
    no_retry_on     TEXT,                                   -- comma list of exit codes
    slots           INTEGER NOT NULL DEFAULT 1 CHECK (slots > 0),
    slots_held      TEXT,                                   -- comma list, while it runs
    unique_key      TEXT,
    after           TEXT,                                   -- JSON: the parents, as asked for
    expires_at      INTEGER,
    cwd             BLOB    NOT NULL,
    umask           INTEGER NOT NULL,
    env             INTEGER REFERENCES environment (id),
    schedule        TEXT,                                   -- the schedule that fired it
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    run_at          INTEGER NOT NULL,       -- when it became or becomes runnable
    started_at      INTEGER,                -- the last run
    finished_at     INTEGER,                -- the end of the job, not of a run
    duration_s      REAL,
    exit_code       INTEGER,
    signal          INTEGER,
    error           TEXT,
    worker          INTEGER,
    cancel_asked_at INTEGER,
    stuck           TEXT,                   -- what of a lost run cannot be ended

    CHECK ((state = 'processing') = (worker IS NOT NULL)),
    CHECK ((state IN ('completed', 'dead', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (ready = 0 OR (state IN ('pending', 'failed') AND held = 0 AND waits = 0)),
    CHECK (state IN ('pending', 'cancelled') OR started_at IS NOT NULL),
    CHECK (slots_held IS NULL OR state = 'processing'),
    CHECK (stuck IS NULL OR state = 'processing'),
    CHECK (cancel_asked_at IS NULL OR state = 'processing')
) STRICT;

CREATE UNIQUE INDEX job_name ON job (name) WHERE name IS NOT NULL;
-- The line in front of the workers. Queue-led: a paused queue is skipped, never walked through.
CREATE INDEX job_ready ON job (queue, priority DESC, run_at, seq) WHERE ready = 1;
-- What becomes ready by the clock alone.
CREATE INDEX job_due ON job (run_at)
    WHERE ready = 0 AND held = 0 AND waits = 0 AND state IN ('pending', 'failed');
-- What waits for a person or for other jobs, for lists: it costs a job that is neither nothing.
CREATE INDEX job_kept ON job (run_at)
    WHERE ready = 0 AND (held = 1 OR waits > 0) AND state IN ('pending', 'failed');
CREATE INDEX job_processing ON job (worker) WHERE state = 'processing';
CREATE INDEX job_finished ON job (state, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_expires ON job (expires_at)
    WHERE expires_at IS NOT NULL AND state = 'pending' AND run = 0;
CREATE INDEX job_label ON job (label) WHERE label IS NOT NULL;
CREATE INDEX job_schedule ON job (schedule)
    WHERE schedule IS NOT NULL AND finished_at IS NULL;
-- One unfinished job for each key.
CREATE UNIQUE INDEX job_unique ON job (unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('pending', 'processing', 'failed');

-- One row for each start of a job, kept when the job is retried.
CREATE TABLE run (
    job             INTEGER NOT NULL,
    run             INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    worker          INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    finished_at     INTEGER,
    duration_s      REAL CHECK (duration_s >= 0),
    outcome         TEXT CHECK (outcome IN
        ('succeeded', 'failed', 'timed_out', 'cancelled', 'interrupted', 'lost')),
    exit_code       INTEGER,
    signal          INTEGER,
    error           TEXT,
    cpu_s           REAL,
    max_rss_bytes   INTEGER,
    log_start       INTEGER,                -- where its output lies in the log
    log_end         INTEGER,
    left_behind     INTEGER,                -- processes that outlived the job's first one
    PRIMARY KEY (job, run),
    CHECK ((outcome IS NULL) = (finished_at IS NULL))
) STRICT, WITHOUT ROWID;

-- What is still waited for: an edge goes when its parent ends well. A broken one stays, to
-- explain which children a parent's end has cancelled.
CREATE TABLE dependency (
    parent  INTEGER NOT NULL,
    child   INTEGER NOT NULL,
    needs   TEXT    NOT NULL CHECK (needs IN ('completed', 'finished', 'broken')),
    PRIMARY KEY (parent, child)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependency_child ON dependency (child);

-- The slots of queues with a concurrency limit. A retired one goes when it is let go.
CREATE TABLE slot (
    queue   TEXT    NOT NULL,
    place   INTEGER NOT NULL,               -- order of preference
    name    TEXT    NOT NULL,
    job     INTEGER,
    retired INTEGER NOT NULL DEFAULT 0 CHECK (retired IN (0, 1)),
    PRIMARY KEY (queue, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX slot_job ON slot (job) WHERE job IS NOT NULL;

-- The starts that a rate limit still has to remember.
CREATE TABLE rate_start (
    queue   TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    job     INTEGER NOT NULL,
    run     INTEGER NOT NULL,
    PRIMARY KEY (queue, at, job, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE schedule (
    name        TEXT    PRIMARY KEY,
    cron        TEXT,
    every_s     REAL CHECK (every_s > 0),
    tz          TEXT    NOT NULL,
    overlap     TEXT    NOT NULL CHECK (overlap IN ('skip', 'queue')),
    catchup     TEXT    NOT NULL CHECK (catchup IN ('none', 'once')),
    paused      INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    template    TEXT    NOT NULL,           -- JSON: the row that each tick inserts
    cwd         BLOB    NOT NULL,
    umask       INTEGER NOT NULL,
    env         INTEGER REFERENCES environment (id),
    created_at  INTEGER NOT NULL,
    last_at     INTEGER,                    -- the tick that fired last
    next_at     INTEGER,                    -- NULL: it never fires again
    CHECK ((cron IS NULL) <> (every_s IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX schedule_next ON schedule (next_at) WHERE paused = 0 AND next_at IS NOT NULL;
CREATE TRIGGER schedule_gone AFTER DELETE ON schedule BEGIN
    UPDATE environment SET uses = uses - 1 WHERE id = old.env;
    DELETE FROM environment WHERE id = old.env AND uses = 0;
END;

-- Who works. A row is a claim to be alive; the lock it names is the proof.
CREATE TABLE pool (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    pid         INTEGER NOT NULL,
    birth       TEXT    NOT NULL,           -- boot id and start ticks: this pid, no other
    lock        TEXT    NOT NULL,           -- file name in run/
    lock_dev    INTEGER NOT NULL,
    lock_ino    INTEGER NOT NULL,
    background  INTEGER NOT NULL CHECK (background IN (0, 1)),
    queues      TEXT,                       -- comma list; NULL: all
    started_at  INTEGER NOT NULL,
    stop        INTEGER NOT NULL DEFAULT 0, -- 0 work, 1 drain, 2 end the jobs, 3 kill them
    stop_by     INTEGER                     -- the drain becomes level 2 at this instant
) STRICT;

CREATE TABLE worker (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    pool        INTEGER NOT NULL,
    pid         INTEGER NOT NULL,
    birth       TEXT    NOT NULL,
    lock        TEXT    NOT NULL,
    lock_dev    INTEGER NOT NULL,
    lock_ino    INTEGER NOT NULL,
    exec_dev    INTEGER NOT NULL,           -- the lock that a job's processes inherit
    exec_ino    INTEGER NOT NULL,
    queues      TEXT,
    started_at  INTEGER NOT NULL,
    stop        INTEGER NOT NULL DEFAULT 0,
    stop_by     INTEGER
) STRICT;

-- The ended jobs whose hooks (on-finish, on-dead) a worker still has to run.
CREATE TABLE hook_due (
    job     INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE config (
    key     TEXT PRIMARY KEY,
    value   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- How many jobs each queue has in each state: status must not count a million rows. And which
-- one came into it last: `logs` finds the job started last without an index on started_at.
CREATE TABLE tally (
    queue   TEXT    NOT NULL,
    state   TEXT    NOT NULL,
    jobs    INTEGER NOT NULL CHECK (jobs >= 0),
    latest  INTEGER NOT NULL,
    PRIMARY KEY (queue, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER job_added AFTER INSERT ON job BEGIN
    INSERT INTO queue (name) VALUES (new.queue) ON CONFLICT DO NOTHING;
    INSERT INTO tally VALUES (new.queue, new.state, 1, new.seq)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1, latest = new.seq;
END;

CREATE TRIGGER job_moved AFTER UPDATE OF state, queue ON job
WHEN old.state <> new.state OR old.queue <> new.queue BEGIN
    INSERT INTO queue (name) VALUES (new.queue) ON CONFLICT DO NOTHING;
    UPDATE tally SET jobs = jobs - 1 WHERE queue = old.queue AND state = old.state;
    INSERT INTO tally VALUES (new.queue, new.state, 1, new.seq)
        ON CONFLICT DO UPDATE SET jobs = jobs + 1, latest = new.seq;
END;

CREATE TRIGGER job_gone AFTER DELETE ON job BEGIN
    UPDATE tally SET jobs = jobs - 1 WHERE queue = old.queue AND state = old.state;
    DELETE FROM run WHERE job = old.seq;
    DELETE FROM dependency WHERE parent = old.seq;
    DELETE FROM dependency WHERE child = old.seq;
    UPDATE environment SET uses = uses - 1 WHERE id = old.env;
    DELETE FROM environment WHERE id = old.env AND uses = 0;
END;
