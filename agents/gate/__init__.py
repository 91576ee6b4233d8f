"""The gate: the only door into the inbox (design §3). Plain threads over confluent-kafka; its only state is on topics.

`gate` starts the threads, each a `loop` (consume, decide, publish, await, commit); `submissions` and `reports` decide
what a record becomes, `dead` what becomes of one that is none; `queues` declares queues, `job_types`
knows the registered types, `lag` and `pace` say how many submissions may go on; `pool` runs job creators.
May import: `pipeline`, `agents.bus`, `agents.admin`, `agents.offsets`, `agents.fetching`, `agents.topic_ids`,
`agents.registry`, `agents.job_types`, `agents.dead_letters`, `agents.logging`.
"""
