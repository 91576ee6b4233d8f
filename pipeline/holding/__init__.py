"""What a worker knows of the attempts that it was granted: its side of the claim, grant and lease (design §4, §6).

`holdings` decides what each command means and what heartbeats and statuses say, `clock` tells the age of a command by
the broker's time, `durations` when a slot will be free, `memory` remembers attempts that must not start again,
`results` makes results fit into a report.
Times are ms of one local monotonic clock, passed in: nothing here reads a clock, and nothing does I/O.
May import: the standard library, orjson, `pipeline.messages`.
"""
