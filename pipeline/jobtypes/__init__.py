"""Registered job types: a job-spec with its hysds-io, and what they make of a submission's parameters (spec §2).

`job_type` is a type with its `job_spec` and `hysds_io`; `files` reads them, `check` finds everything that is wrong with
one and says it as `problems`. `resolve` makes a command, inputs and context of what a submitter gave: `sources` says
where a value comes from, `values` what its type makes of it, `transforms` what its lambda does, `words` what `$param`
stands for. Pure, but for `files`; nothing is ever evaluated, and nothing goes through a shell.
May import: the standard library, orjson, jsonschema, `pipeline.topology`, `pipeline.retry_rules`
and `pipeline.submission.numbers`.
"""
