"""The scheduler's process: feeds `pipeline.scheduling` from Kafka and sends what it decides (design §5).

`main` runs it; `feed` reads run topics, statuses and settings, `election` says who leads, `sending` and `views`
write. May import `pipeline` and the shared modules of `agents`.
"""
