"""Products of a job: found in its directory, recognised by the operator's rules, published all or none.

A product is a directory `X` that holds `X.dataset.json`. `discovery` finds and validates products, `rules` and
`recognition` say what they are and where they go, `store` is the seam to where they are kept (`directory`: a local
file system, `s3_store`: a bucket), `documents` and `enrichment` make what is indexed, `latency` says how long it took,
`publisher` joins these.
May import: the standard library, pydantic, orjson, `pipeline.masking`, `pipeline.nesting`, and botocore in `s3_bucket`
alone. No Kafka, no Elasticsearch, no container engine.
"""
