"""The ledger's pure core: `decide(family, message, at, …) -> Decision`, its state, its facts and its clock.

No I/O, no wall clock, no random: time arrives in messages (design §4).
May import `pipeline.messages`, `pipeline.identity`, `pipeline.statuses`, `pipeline.shortening`, `pipeline.topology`,
`pipeline.retry_rules` and `pipeline.submission.numbers`; never an agent.
"""
