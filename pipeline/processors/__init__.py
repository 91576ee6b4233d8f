"""The operator's own code before and after a job's command (spec §4.1).

A `processor` is anything that is called with a job and its context; `chain` calls several, in order; `plan` says which
for a job: those of the settings, and those that the job names if the settings allow them. `program` runs one in a
process of its own, whose other side is `runner`.
May import: the standard library and orjson.
"""
