-- Looking into a large file, and pausing queues that are not known yet.

-- As before, but the last two ride along: a list that asks for them need not open every job.
DROP INDEX job_ready;
CREATE INDEX job_ready ON job (queue, priority DESC, run_at, seq, updated_at, label)
    WHERE ready = 1;
DROP INDEX job_due;
CREATE INDEX job_due ON job (run_at, seq, updated_at, label)
    WHERE ready = 0 AND held = 0 AND waits = 0 AND state IN ('pending', 'failed');
DROP INDEX job_kept;
CREATE INDEX job_kept ON job (run_at, seq, updated_at, label)
    WHERE ready = 0 AND (held = 1 OR waits > 0) AND state IN ('pending', 'failed');
DROP INDEX job_finished;
CREATE INDEX job_finished ON job (state, finished_at, seq, queue, label)
    WHERE finished_at IS NOT NULL;
-- Those that back off or are due again, among many that were never started.
CREATE INDEX job_failed ON job (ready, run_at) WHERE state = 'failed';

-- While a pause of all queues stands (see limits.py), one that becomes known is paused, too.
CREATE TRIGGER queue_known AFTER INSERT ON queue
WHEN EXISTS (SELECT 1 FROM config WHERE key = 'pause-all') BEGIN
    UPDATE queue SET paused = 1 WHERE name = new.name;
END;
