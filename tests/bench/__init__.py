"""The benchmark: figures as ratios to a floor that is measured in the same, interleaved run.

    python3 -m tests.bench [--quick] [--json] [--only NAME] [--dir DIR] [--wal-minutes N]

It judges nothing by its exit status: it says which bars are met. A ratio is the median over
rounds; each round measures every contestant once, in turn, so that what else the machine does
meets them all. Where the rounds differ too much, the figure says that it means nothing.
"""
