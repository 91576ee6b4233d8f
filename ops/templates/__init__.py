"""Configuration files to start from; data only.

`orchestrator_jobs.json` names job creators, `job_worker.json` the commands of job types, and `datasets.json` says how
products are recognised.
"""
