"""The audit: what must hold of any log, checked from the log alone, without the ledger's own code (decision 020).

A partition's inbox is fed first (`Causes`), then its facts (`Audit`). What doesn't fit into memory goes into a `Store`.
Pure. May import `pipeline.messages`, `pipeline.codec`, `pipeline.replay`, `pipeline.identity` and `pipeline.statuses`;
never `pipeline.ledger`: a check that decides by what it checks would find nothing.
"""
