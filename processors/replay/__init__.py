"""What happened, again: the pure processors over a capture of the log, as fast as it can be read.

`order` says in which order a partition's raw ticks are taken, `run` has them judged and forwarded,
`summary` says what came of it; `__main__` reads files and writes topics.
"""
