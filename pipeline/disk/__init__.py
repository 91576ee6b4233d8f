"""The disk that a host's workers share: what running jobs reserve, and what goes when it is short (spec §3.5).

`account` and `order` decide, purely; `seats`, `finished` and `removal` touch files; `keeper` puts them together.
May import: the standard library, orjson, `pipeline.work` for directories, `pipeline.inputs` for locks and the
cache.
"""
