"""One file per word that the user types: its arguments, one call, what to print.

A module has EXAMPLES (the help opens with them), `arguments(parser)`, which ends in
`parser.set_defaults(run=…)`, and the functions it names: `run(queue, talk, *, …) -> int`.
"""
