"""What is kept of failed jobs: a dataset of their special files, published like any other (spec §4.7).

`identity` names it, `copying` takes what belongs into it, `triage` is the post-processor that makes and publishes it.
May import: the standard library, `pipeline.datasets`, `pipeline.processors`, `pipeline.work.files`. No Kafka.
"""
