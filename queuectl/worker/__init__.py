"""Everything that runs in the background.

`pool` supervises workers, `loop` is one worker, `process` is one command, `upkeep` sees to what
dead workers left; `alive` says who lives, `tree` finds and ends processes, `signals` hears.
"""
