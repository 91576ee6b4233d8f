"""Replay: the ledger's own `decide` over what an inbox partition recorded, and what it made of it (decision 020).

Lives here: the fold, a job's history as a document, the comparison with recorded facts, and marks of submissions that
are sent again. Pure: records come from whoever reads them. May import `pipeline.ledger`, `pipeline.messages`,
`pipeline.codec`, `pipeline.identity` and `pipeline.statuses`; never an agent.
"""
