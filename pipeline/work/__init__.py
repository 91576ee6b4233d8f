"""The running of one attempt: its work directory, its command, and what is read back from both.

`attempt` is the life cycle (spec §3.1) and calls the rest: `directory` and `files` keep the work directory, `command`
and `request` make what an engine runs, `overrides` and `metrics` read what the job left, `facts` and
`machine` what the kernel says of the host, `result` is what comes out.
May import: the standard library, pydantic, orjson, psutil, `pipeline.containers`, `pipeline.jobtypes`,
`pipeline.processors`, `pipeline.masking`, `pipeline.nesting` and `pipeline.statuses`. No Kafka.
"""
