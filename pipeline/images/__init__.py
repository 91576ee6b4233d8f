"""The images that jobs bring along: made known to the engine before the command (spec §3.1 step 13, §6).

`wanted` reads what a job asks for; `supply` makes it so, one process of a host at a time for each image; `keeping`
removes what is too much; `shelf` is the folder in which processes tell each other what they do and did.
May import: the standard library, pydantic, orjson, `pipeline.containers`, `pipeline.inputs` and `pipeline.work.files`.
No Kafka.
"""
