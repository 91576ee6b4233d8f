"""Reading the log from outside: facts of a job, what came to the inbox, the last value of each key.

Lives here: what the command line, the demo, the benchmark and the acceptance tests share. Nothing here commits an
offset or joins a group, so that a reader disturbs nobody. May import: `agents` and `pipeline`, no command line.
"""
