"""The records that cross topics, as frozen dataclasses: one file a schema of `schemas/`.

Each has `record()` (what the codec encodes) and `of(record)`, which raises KeyError, TypeError or
ValueError for a record of another shape. May import `pipeline.identity` and `pipeline.statuses`.
"""
