"""The worker: takes grants, runs their attempts through an engine, reports what came of them (design §6).

A process of actors: `main` starts it, `worker` orders its start and its end, `commands` listens, `slots` run attempts,
`heartbeat` and `status` speak regularly, `reporting` delivers what must arrive. What is decided, is decided in
`pipeline.holding`; what runs an attempt stands behind the seam `work`. `cloud` asks the machine's `metadata` service.
May import: `agents`' shared modules, `pipeline`, mode.
"""
