"""A job's inputs: brought from where they are into its work directory (spec §4.1), through a cache that workers share.

`localize` brings all of a job's inputs at once; `request` reads what the job asks for, `policy` says what it may ask
for. `download` brings one file: from a `source` (`http`, or `remote` for whatever else fsspec knows) to a `spool`.
`cache`, `room` and `locks` are the cache; `checksums` and `marks` are the other two built-in pre-processors.
May import: the standard library, fsspec and its backends (lazily), pydantic, orjson. No Kafka.
"""
