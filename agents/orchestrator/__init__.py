"""The orchestrator: a thin Faust shell around `pipeline.ledger` (design §4).

publish the outputs, await their delivery → write the tables → await the changelog's delivery → acknowledge.
"""
