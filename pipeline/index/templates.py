"""Index templates: how job documents, facts and datasets are indexed (spec §9).

Documents come from users, so that almost nothing may make a mapping refuse one: their free parts are kept and not
indexed, fields beyond the limit and malformed values are ignored, and strings are keywords.
"""

from typing import Any

from pipeline.index.names import DATASETS, EVENTS, JOBS, JOBS_CURRENT, TASKS, TASKS_CURRENT

#: fields of one index at most; what comes beyond is kept in the document and not indexed
FIELD_LIMIT = 2000
#: above the built-in templates
PRIORITY = 500

Mapping = dict[str, Any]

_KEYWORD: Mapping = {"type": "keyword", "ignore_above": 256}
_NAME: Mapping = {**_KEYWORD, "copy_to": "text_fields"}
_TEXT: Mapping = {"type": "text", "norms": False}
_DATE: Mapping = {"type": "date"}
_LONG: Mapping = {"type": "long"}
_DOUBLE: Mapping = {"type": "double"}
_KEPT: Mapping = {"type": "object", "enabled": False}


def templates(prefix: str, shards: int, replicas: int, refresh: str, *, geo_shape: bool) -> dict[str, Mapping]:
    """Return the index templates by name, as the API takes them.

    `refresh` is the time until a written document is found ("1s"); without `geo_shape`, which not every
    distribution has, a dataset's location is kept and not indexed.
    """
    settings = {
        "number_of_shards": shards,
        "number_of_replicas": replicas,
        "refresh_interval": refresh,
        "mapping.total_fields.limit": FIELD_LIMIT,
        "mapping.total_fields.ignore_dynamic_beyond_limit": True,
        "mapping.ignore_malformed": True,
    }

    def template(pattern: str, aliases: tuple[str, ...], properties: Mapping) -> Mapping:
        return {
            "index_patterns": [f"{prefix}{pattern}"],
            "priority": PRIORITY,
            "template": {
                "settings": {"index": settings},
                "aliases": {f"{prefix}{alias}": {} for alias in aliases},
                "mappings": _mappings(properties),
            },
        }

    return {
        f"{prefix}{JOBS}": template(f"{JOBS}-*", (JOBS, JOBS_CURRENT), job_properties()),
        f"{prefix}{EVENTS}": template(f"{EVENTS}-*", (EVENTS,), event_properties()),
        f"{prefix}{TASKS}": template(f"{TASKS}-*", (TASKS, TASKS_CURRENT), task_properties()),
        f"{prefix}{DATASETS}": template(f"{DATASETS}_*", (DATASETS,), dataset_properties(geo_shape=geo_shape)),
    }


def _mappings(properties: Mapping) -> Mapping:
    return {
        "date_detection": False,
        "dynamic_templates": [{"strings": {"match_mapping_type": "string", "mapping": _KEYWORD}}],
        "properties": {"text_fields": _TEXT, **properties},
    }


def _object(properties: Mapping) -> Mapping:
    return {"properties": properties}


def _known(properties: Mapping) -> Mapping:
    """Return an object that jobs add to: what else they write is kept and not indexed, else the first one's types
    would be all others'."""
    return {"dynamic": False, "properties": properties}


def job_properties() -> Mapping:
    """Return the fields of a job's document (spec §3.2)."""
    names = ("uuid", "job_id", "payload_id", "payload_hash", "status", "type", "resource", "submission_id", "tags")
    return {
        **dict.fromkeys(names, _NAME),
        **dict.fromkeys(("@version", "celery_hostname", "holder", "dedup_job"), _KEYWORD),
        **dict.fromkeys(("error", "short_error", "traceback", "msg", "msg_details", "dedup_msg"), _TEXT),
        **dict.fromkeys(("attempt", "seq", "signum"), _LONG),
        "@timestamp": _DATE,
        "dedup": {"type": "boolean"},
        "category": _KEYWORD,
        "retry": _object(_retry()),
        "context": _KEPT,
        # each product has a document of its own
        "products": _KEPT,
        "products_at": _KEPT,
        "triaged": _KEPT,
        "job": _object(_job()),
    }


def _retry() -> Mapping:
    """Return the fields of what a failed attempt's document says of the next one (decision 022)."""
    numbers = dict.fromkeys(("attempt", "number", "most", "memory_mib"), _LONG)
    return {"follows": {"type": "boolean"}, "due": _DATE, "rule": _KEYWORD, "why": _TEXT, **numbers}


def _job() -> Mapping:
    names = ("type", "name", "job_id", "task_id", "tag", "tags", "username", "container_image_name")
    free = ("params", "localize_urls", "context", "command", "container_mappings", "runtime_options", "retry")
    return {
        **dict.fromkeys(names, _NAME),
        **dict.fromkeys(("container_image_url", "container_image_id"), _KEYWORD),
        **dict.fromkeys((*free, "dependency_images", "container_image_urls", "delivery_info"), _KEPT),
        **dict.fromkeys(("priority", "retry_count"), _LONG),
        "trace": _object(dict.fromkeys(("traceparent", "tracestate"), _KEYWORD)),
        "needs": _object(dict.fromkeys(("memory_mib", "cpus", "disk_mib", "gpus"), _DOUBLE)),
        "job_info": _object(_job_info()),
    }


def _job_info() -> Mapping:
    names = ("id", "job_queue", "payload_hash", "execute_node")
    words = ("index", "public_ip", "job_dir", "job_url", "context_file", "datasets_cfg_file")
    return {
        **dict.fromkeys(names, _NAME),
        **dict.fromkeys(words, _KEYWORD),
        **dict.fromkeys(("time_queued", "time_start", "time_end", "cmd_start", "cmd_end"), _DATE),
        **dict.fromkeys(("duration", "cmd_duration"), _DOUBLE),
        **dict.fromkeys(("time_limit", "soft_time_limit", "status", "pid"), _LONG),
        **dict.fromkeys(("stdout", "stderr"), _TEXT),
        "dedup": {"type": "boolean"},
        "job_payload": _object(dict.fromkeys(("job_type", "payload_task_id"), _KEYWORD)),
        "metrics": _object(_metrics()),
    }


def _metrics() -> Mapping:
    usage = {
        **dict.fromkeys(("wall_time", "user_cpu_time", "sys_cpu_time"), _DOUBLE),
        **dict.fromkeys(("max_memory", "read_bytes", "written_bytes"), _LONG),
    }
    times = {
        **dict.fromkeys(("time_start", "time_end"), _DATE),
        **dict.fromkeys(("duration", "transfer_rate"), _DOUBLE),
    }
    names = ("id", "path", "urls", "browse_urls", "dataset", "ipath", "system_version")
    staged = dict.fromkeys((*names, "dataset_level", "dataset_type", "index"), _KEYWORD)
    brought = {"url": _KEYWORD, "path": _KEYWORD, "disk_usage": _LONG, "cached": {"type": "boolean"}, **times}
    return {
        "job_dir_size": _LONG,
        "inputs_localized": _known(brought),
        "products_staged": _known({**staged, "disk_usage": _LONG, **times}),
        "product_provenance": _known(_provenance()),
        "usage_stats": _known(usage),
    }


def _provenance() -> Mapping:
    times = ("processing_start_time", "availability_time", "acquisition_start_time", "source_production_time")
    latencies = ("processing_latency", "total_latency", "ground_system_latency", "access_latency")
    return {"product_type": _KEYWORD, **dict.fromkeys(times, _DATE), **dict.fromkeys(latencies, _DOUBLE)}


def event_properties() -> Mapping:
    """Return the fields of a fact's document."""
    names = ("job_id", "family", "submission_id", "payload_hash", "status", "type", "job_queue", "resource")
    return {
        **dict.fromkeys(names, _NAME),
        **dict.fromkeys(("reason", "error", "short_error"), _TEXT),
        **dict.fromkeys(("seq", "attempt", "inbox_partition", "inbox_offset", "index"), _LONG),
        **dict.fromkeys(("code_version", "holder"), _KEYWORD),
        "@timestamp": _DATE,
    }


def task_properties() -> Mapping:
    """Return the fields of a task's document (spec §9)."""
    names = ("uuid", "status", "type", "function", "queue", "resource", "submitted_by")
    times = ("@timestamp", "time_queued", "time_start", "time_end", "retry_at")
    return {
        **dict.fromkeys(names, _NAME),
        **dict.fromkeys(("celery_hostname", "directory"), _KEYWORD),
        **dict.fromkeys(("error", "short_error", "traceback", "output"), _TEXT),
        **dict.fromkeys(("seq", "attempt", "max_attempts", "deliveries", "result_size"), _LONG),
        **dict.fromkeys(times, _DATE),
        "duration": _DOUBLE,
        # texts of JSON: what is in them differs from function to function
        **dict.fromkeys(("args", "kwargs", "result"), _TEXT),
        "trace": _KEPT,
    }


def dataset_properties(*, geo_shape: bool) -> Mapping:
    """Return the fields of a dataset's document (spec §4.4); its metadata is indexed as it comes, within the limit."""
    names = ("id", "objectid", "dataset", "system_version", "dataset_level", "dataset_type", "label", "job_id")
    return {
        **dict.fromkeys(names, _NAME),
        **dict.fromkeys(("ipath", "version", "urls", "browse_urls"), _KEYWORD),
        **dict.fromkeys(("@timestamp", "starttime", "endtime", "creation_timestamp"), _DATE),
        "attempt": _LONG,
        "location": {"type": "geo_shape"} if geo_shape else _KEPT,
        "center": {"type": "geo_point"},
        "temporal_span": _LONG,
        "images": _KEPT,
        "prov": _object(dict.fromkeys(("wasGeneratedBy", "wasDerivedFrom"), _KEYWORD)),
        "index": _KEPT,
    }
