"""The torture test: a black box through the command line, signals and files only.

`plan` draws everything that will happen from the seed, `nemesis` does it, `jobs` are what it is
done to, `field` is where it happens, `verdict` reads what the jobs wrote and compares.
"""
