"""The task worker: calls light Python functions, one for each record that it takes (decision 017).

A `source` gives a record at a time and holds it while its function runs: `share_source` by a share group,
`group_source` by a consumer group. A `slot` takes, runs and says what came of it by `outputs`; `retries` puts attempts
into their queue when their time has come. `worker` has the threads, `main` the process. What is decided is in
`pipeline.tasks`.
"""
