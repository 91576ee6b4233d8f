"""What a job is and how it is decided: the domain, without any server.

Lives here: topology, messages, codec, identity, settings; the pure cores in `submission`, `ledger` and
`scheduling`; what runs a job in `containers`, `work` and `datasets`.
May import: the standard library and small libraries (orjson, fastavro, pydantic).
Only `containers` imports Docker, and nothing here imports Kafka, Faust or Elasticsearch, `agents` or `ops`.
"""

#: The version that facts and statuses carry.
__version__ = "0.1.0"
