"""Every setting of jobstream, with its unit and its default.

Sources, the first wins: `JOBSTREAM_*` environment variables (`JOBSTREAM_WORKER__SLOTS=8`), the TOML file that
`JOBSTREAM_CONFIG` names (by default `jobstream.toml` in the current folder), and `HOME/cluster.toml`, in which
`jobstream up` says where it started the servers.
"""

import os
import secrets
import socket
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from pipeline import retry_rules
from pipeline.topology import QUEUE_NAME, RESERVED_TASK_QUEUES, Topology

CLUSTER_FILE = "cluster.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _retry_rules(rules: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    retry_rules.checked(rules)
    return rules


class KafkaSettings(_Section):
    """How every agent reaches the brokers."""

    bootstrap: str = Field("127.0.0.1:29092", description="brokers, host:port with commas between")
    client: dict[str, str] = Field(default_factory=dict, description="further librdkafka settings (security, …)")
    registry_url: str | None = Field(None, description="Confluent-compatible schema registry; none: single-object Avro")
    registry_timeout: float = Field(5.0, gt=0, description="seconds that a call to the registry may take")


def _task_queue(name: str) -> str:
    if not QUEUE_NAME.fullmatch(name) or name in RESERVED_TASK_QUEUES:
        raise ValueError(f"{name!r} can't be a task queue: {QUEUE_NAME.pattern}, not {', '.join(RESERVED_TASK_QUEUES)}")
    return name


class TopicSettings(_Section):
    """Numbers that are fixed once the topics exist."""

    prefix: str = Field("", pattern=r"^[a-z0-9._-]{0,40}$", description="before each topic's and group's name")
    inbox_partitions: int = Field(2, ge=1, le=1000, description="of inbox, reports, control, events and changelogs")
    submit_partitions: int = Field(8, ge=1, le=1000, description="of jobs.submit")
    commands_partitions: int = Field(4, ge=1, le=1000, description="of workers.commands: at least 1 per 16 workers")
    task_queues: tuple[Annotated[str, AfterValidator(_task_queue)], ...] = Field(
        ("default",), description="queues of tasks: each has its topic `tasks.<queue>`"
    )
    task_partitions: int = Field(
        1, ge=1, le=1000, description="of each tasks.<queue>: 1 with share groups, else as many as run tasks at once"
    )
    replication: int = Field(1, ge=1, le=9, description="copies of each partition")


class GateSettings(_Section):
    """The gate (design §3)."""

    batch: int = Field(500, ge=1, le=10_000, description="records forwarded before their offsets are committed")
    lag_limit: int = Field(1000, ge=1, description="inbox messages behind, a partition, above which submissions pause")
    lag_ms: int = Field(400, ge=10, description="ms of the ledger's work in the inbox above which submissions pause")
    creators_file: Path | None = Field(None, description="orchestrator_jobs.json; none: only the catch-all")
    creators_dir: Path | None = Field(None, description="the one directory that job creators may be loaded from")
    job_types_dir: Path | None = Field(None, description="folder of job types that the gate registers when it starts")
    hard_limit_gap: int = Field(300, ge=0, description="s between soft and hard time limit at least (spec §1.5)")
    auto_declare: bool = Field(True, description="declare a job type's queue when its first job comes")
    max_queues: int = Field(1000, ge=1, description="queues that may be declared on the way; more are refused")
    threads: int = Field(2, ge=1, le=64, description="threads that job creators run in")
    creator_timeout: float = Field(60.0, gt=0, description="s that a job creator may take; then its job is rejected")
    session_ms: int = Field(6000, ge=3000, description="ms until a dead gate's partitions move")
    lag_check_ms: int = Field(50, ge=10, description="ms between two looks at how far the inbox lags")


class LedgerSettings(_Section):
    """The ledger's policy and the orchestrator that runs it (design §4)."""

    lease_ms: int = Field(60_000, ge=1000, description="ms that a lease lives without a heartbeat")
    tick_ms: int = Field(5000, ge=100, description="ms between two ticks")
    retry: bool = Field(True, description="whether what began and failed is tried again by itself; false: nothing is")
    max_attempts: int = Field(3, ge=1, le=100, description="attempts when workers are lost, and of rules that say none")
    retry_backoff_ms: int = Field(1000, ge=0, description="ms before a retry; doubles with each")
    retry_backoff_max_ms: int = Field(300_000, ge=0, description="ms, the longest back-off")
    retry_jitter_percent: int = Field(20, ge=0, le=100, description="% by which a back-off is shortened at most")
    retries: Annotated[dict[str, dict[str, Any]], AfterValidator(_retry_rules)] = Field(
        default_factory=dict, description="JSON: rules for retries by category of failure, see Retries"
    )
    retry_attempts_limit: int = Field(10, ge=1, le=100, description="attempts that jobs' own rules may ask for")
    retry_memory_mib: int = Field(
        0, ge=0, le=2**31 - 1, description="MiB that a need may grow to: what the largest worker offers; 0: none grows"
    )
    free_releases: int = Field(5, ge=0, description="attempts handed back before the start that do not count")
    hard_limit_grace_ms: int = Field(
        3_600_000, ge=0, description="ms past the hard limit until the ledger ends a job: time to publish included"
    )
    window_ms: int = Field(8 * 86_400_000, ge=0, description="ms that a finished job is remembered for dedup")
    document_ms: int = Field(2 * 86_400_000, ge=0, description="ms that a finished job can be retried by its id")
    max_unfinished: int = Field(500, ge=1, le=500, description="unfinished jobs of one payload hash")
    republish_ms: int = Field(3_600_000, ge=1000, description="ms until a waiting job's run record is written again")
    session_ms: int = Field(10_000, ge=3000, description="ms until a dead orchestrator's partitions move")
    instance: str | None = Field(None, description="static group instance id; none: host name and home")
    store: str = Field("rocksdb", pattern="^(rocksdb|memory)$", description="where the tables are kept")

    @model_validator(mode="after")
    def _memory_can_grow(self) -> "LedgerSettings":
        growing = [name for name, rule in self.retries.items() if rule.get("memory_factor", 1) > 1]
        if growing and not self.retry_memory_mib:
            raise ValueError(
                f"retries.{growing[0]}.memory_factor needs retry_memory_mib: what the largest worker offers"
            )
        return self


class SchedulerSettings(_Section):
    """The scheduler (design §5)."""

    session_ms: int = Field(10_000, ge=3000, le=10_000, description="ms until a dead leader is replaced")
    silence_ms: int = Field(15_000, ge=500, description="ms without a status after which a worker gets no jobs")
    claim_retry_ms: int = Field(10_000, ge=500, description="ms until an unanswered claim is sent again")
    slow_partition_ms: int = Field(2000, ge=100, description="no more claims for a partition with one this old")
    priority_step_ms: int = Field(3_600_000, ge=0, description="ms of waiting that one priority is worth")
    view_ms: int = Field(2000, ge=100, description="ms between two writes of the view")


class WorkerSettings(_Section):
    """A worker (design §6)."""

    id: str = Field(default_factory=socket.gethostname, pattern=r"^[A-Za-z0-9._-]{1,80}$", description="worker id")
    slots: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=1000, description="jobs at once")
    engine: str = Field("process", description="process, docker, podman, apptainer (or singularity), noop")
    queues: tuple[str, ...] = Field(("*",), description="queues whose jobs it takes; * is all")
    labels: dict[str, str] = Field(default_factory=dict, description="what it offers beyond resources")
    memory_mib: int = Field(0, ge=0, description="MiB offered; 0: what the machine has")
    disk_mib: int = Field(0, ge=0, description="MiB offered; 0: what the work root's disk has free")
    disk_keep_percent: int = Field(
        10, ge=0, le=90, description="% of the work root's disk that old work directories and the cache make way for"
    )
    gpus: int = Field(0, ge=0, description="GPUs offered")
    root: Path | None = Field(None, description="root work directory; none: HOME/work")
    store: Path | str | None = Field(
        None, description="where products are published: a folder or s3://bucket/prefix; none: HOME/products"
    )
    extractors: tuple[Path, ...] = Field((), description="programs, or folders of them, that rules may name")
    jobs_url: str | None = Field(
        None, pattern=r"^https?://\S+$", description="of what serves the work root; none: as job_worker.json says"
    )
    job_worker_file: Path | None = Field(None, description="job_worker.json: commands by job type")
    datasets_file: Path | None = Field(None, description="datasets.json: recognition rules")
    heartbeat_ms: int = Field(15_000, ge=200, description="ms between two heartbeats; a lease is at least 3 of them")
    status_ms: int = Field(3000, ge=100, description="ms between two statuses where nothing changes")
    ahead_ms: int = Field(
        250, ge=0, description="ms before a short job's expected end when its slot is offered; 0: never"
    )
    grace: float = Field(30.0, ge=0, description="s that running jobs get to finish when the worker is told to stop")
    kill_grace: float = Field(5.0, ge=0, description="s between SIGTERM and SIGKILL of a job")
    mounts: tuple[Path, ...] = Field((), description="directories that jobs may mount, besides their own")
    user: str | None = Field(
        None, pattern=r"^\d+:\d+$", description="uid:gid of jobs; none: the worker's own, in containers 10001 for root"
    )
    apptainer: str = Field("apptainer", min_length=1, description="Apptainer's program: its path, or a name in PATH")
    apptainer_images: Path | None = Field(
        None, description="folder of Apptainer's images, SIF files or root directories; none: HOME/apptainer"
    )
    transfer_timeout: float = Field(
        3000.0, gt=0, description="s that an attempt's inputs, and publishing its products, may each take"
    )
    pre: tuple[str, ...] = Field((), description="pre-processors of each job: entry points or dotted names")
    post: tuple[str, ...] = Field((), description="post-processors of each job")
    processors: tuple[str, ...] = Field((), description="pre- and post-processors that a job may name itself")
    processor_timeout: float = Field(600.0, gt=0, description="s that a pre- or post-processor may take")
    output_mib: int = Field(
        256, ge=1, description="MiB of a job's standard output, and of its standard error, that are kept"
    )
    log_mib: int = Field(16, ge=0, description="MiB of an attempt's output that are sent while it runs; 0: no logs")
    log_rate_kib: int = Field(512, ge=1, description="KiB a second of an attempt's output that are sent, on average")
    triage_mib: int = Field(1024, ge=1, description="MiB kept of a failed job that has `triage` in its post")
    triage_partition: str | None = Field(
        None, pattern="^[A-Za-z0-9%._-]{1,40}$", description="strftime format in the index's name of triage datasets"
    )
    metadata: str = Field(
        "auto",
        pattern=r"^(auto|off|http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}))?/?)$",
        description="URL of EC2's metadata service; auto: the usual one where the machine is EC2's; off: none",
    )
    notice_check: float = Field(
        5.0, ge=0, description="s between two looks whether a spot instance will be taken away; 0: it is not looked for"
    )
    replays: bool = Field(
        False, description="whether jobs run whose submissions were sent again by `jobstream replay submissions`"
    )
    drain_failures: int = Field(11, ge=0, description="failures of the last drain_runs that drain the worker; 0: never")
    drain_runs: int = Field(12, ge=1, description="runs that are looked at for that, at least one a slot")
    drain_window: float = Field(86_400.0, gt=0, description="s after which a run is not looked at any more")


class InputSettings(_Section):
    """How workers bring jobs' inputs, and the cache that they share."""

    schemes: tuple[str, ...] = Field(
        ("file", "http", "https", "s3", "gs", "gcs", "abfs", "abfss", "ftp", "sftp"),
        description="of URLs, in small letters",
    )
    hosts: tuple[str, ...] = Field(
        ("*",), description="patterns of hosts and buckets; * alone spares this machine and link-local addresses"
    )
    roots: tuple[Path, ...] = Field((), description="folders that local files may come from, besides the products")
    storage_file: Path | None = Field(None, description="JSON: options of file systems by beginning of URLs")
    cache: Path | None = Field(None, description="the cache; none: HOME/cache")
    cache_mib: int = Field(10_240, ge=0, description="MiB that the cache may hold; 0: no cache")
    stale: float = Field(0.0, ge=0, description="s that a cached file is good for if its server doesn't answer")
    parallel: int = Field(4, ge=1, le=64, description="files that are brought at once for a job")
    max_files: int = Field(10_000, ge=1, description="files that a job's inputs may be")
    max_mib: int = Field(102_400, ge=1, description="MiB that a job's inputs may have")
    tries: int = Field(5, ge=1, le=100, description="tries in a row that bring nothing until an input is given up")
    stall: float = Field(60.0, gt=0, description="s that a server may be silent")
    file_timeout: float = Field(3000.0, gt=0, description="s that one file may take")


class ImageSettings(_Section):
    """How workers bring the container images of jobs (spec §6)."""

    folder: Path | None = Field(None, description="what workers of one engine share about images; none: HOME/images")
    registry: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(:\d+)?(/[a-z0-9._/-]+)?$",
        description="registry that images are pulled from, HOST[:PORT][/PATH]; none: none is pulled",
    )
    max_mib: int = Field(102_400, ge=1, description="MiB that an image's archive may have")
    timeout: float = Field(3000.0, gt=0, description="s that a job's images may take, waiting for others included")
    keep_mib: int = Field(
        51_200,
        ge=0,
        description="MiB of images loaded for jobs that stay in the engine, the least used go; 0: all stay",
    )
    need_digest: bool = Field(False, description="load no archive whose URL lacks #sha256=…")


class TaskSettings(_Section):
    """A task worker: light Python functions without containers (decision 017)."""

    id: str = Field(
        default_factory=socket.gethostname, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}$", description="worker id"
    )
    queues: tuple[str, ...] = Field(("default",), description="queues whose tasks it takes, of topics.task_queues")
    slots: int = Field(2, ge=1, le=64, description="tasks of each queue at once")
    functions: tuple[str, ...] = Field(
        ("echo", "sleep"), description="what tasks may call: entry points of jobstream.tasks, or dotted names"
    )
    source: str = Field(
        "share", pattern="^(share|group)$", description="how records are taken: a share group, or a consumer group"
    )
    lock_ms: int = Field(
        60_000,
        ge=15_000,
        le=540_000,
        description="ms that a record is held at most; the same on all workers of a queue",
    )
    time_limit: float = Field(30.0, gt=0, description="s that a function may take where its task doesn't say")
    kill_grace: float = Field(2.0, ge=0, le=60, description="s between SIGTERM and SIGKILL of a function")
    grace: float = Field(10.0, ge=0, description="s that running functions get when the worker is told to stop")
    max_attempts: int = Field(3, ge=1, le=20, description="attempts of a task that doesn't say")
    max_deliveries: int = Field(
        5, ge=1, le=7, description="times that an attempt is begun, if its worker dies each time, until it is given up"
    )
    retry_backoff_ms: int = Field(1000, ge=0, description="ms before the second attempt; doubles with each")
    retry_backoff_max_ms: int = Field(300_000, ge=0, description="ms, the longest back-off")
    result_kib: int = Field(64, ge=0, le=256, description="KiB of a result that are kept; a longer one isn't")
    keep_failed: bool = Field(False, description="keep the directories of all failed tasks, as if each asked for it")
    keep: float = Field(86_400.0, ge=0, description="s that kept directories stay")
    environment: tuple[str, ...] = Field((), description="variables of the worker that functions get too")
    session_ms: int = Field(10_000, ge=6000, description="ms until a dead worker's place in a consumer group is free")


class SinkSettings(_Section):
    """The sink (design §10)."""

    elasticsearch: str = Field("http://127.0.0.1:29200", description="URL of Elasticsearch")
    batch: int = Field(500, ge=1, le=10_000, description="facts per bulk request")
    linger_ms: int = Field(200, ge=0, description="ms to wait for a batch to fill")
    timeout: float = Field(30.0, gt=0, description="seconds that a request may take")
    index_prefix: str = Field("", pattern=r"^[a-z0-9._-]{0,40}$", description="before each index's name")
    shards: int = Field(1, ge=1, le=64, description="primary shards of each index")
    replicas: int = Field(0, ge=0, le=9, description="copies of each shard; 0 for a single node")
    refresh: str = Field("1s", pattern=r"^\d+(ms|s|m)$", description="time until a written document is found")
    group: str = Field("jobstream-sink", pattern=r"^[a-z0-9._-]{1,80}$", description="a new one reads all facts again")
    instance: str | None = Field(None, description="static group instance id; none: host name and home")
    session_ms: int = Field(10_000, ge=3000, description="ms until a dead sink's partitions move")


class EmbeddedSettings(_Section):
    """The servers that `jobstream up` starts (design §8)."""

    kafka_port: int = Field(29092, ge=0, le=65535, description="0: any free port")
    controller_port: int = Field(29093, ge=0, le=65535, description="0: any free port")
    elasticsearch_port: int = Field(29200, ge=0, le=65535, description="0: any free port")
    transport_port: int = Field(29300, ge=0, le=65535, description="0: any free port")
    kafka_heap_mib: int = Field(512, ge=128, description="MiB")
    elasticsearch_heap_mib: int = Field(512, ge=256, description="MiB")
    cache: Path = Field(
        default_factory=lambda: Path(os.environ.get("JOBSTREAM_CACHE", Path.home() / ".cache" / "jobstream")),
        description="downloads, shared by all projects",
    )
    workers: int = Field(1, ge=0, le=64, description="workers that `jobstream up` starts")
    task_workers: int = Field(0, ge=0, le=64, description="task workers that `jobstream up` starts")


class Settings(BaseSettings):
    """All settings; sections are frozen, paths are resolved against the current folder."""

    model_config = SettingsConfigDict(
        env_prefix="JOBSTREAM_", env_nested_delimiter="__", extra="ignore", nested_model_default_partial_update=True
    )

    home: Path = Field(Path(".jobstream"), description="data of the embedded servers and agents")
    token_key: SecretStr | None = Field(None, description="key of the attempt tokens; none: HOME/token.key")
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="least level that is logged")
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    gate: GateSettings = GateSettings()
    ledger: LedgerSettings = LedgerSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    inputs: InputSettings = InputSettings()
    images: ImageSettings = ImageSettings()
    tasks: TaskSettings = Field(default_factory=TaskSettings)
    sink: SinkSettings = SinkSettings()
    embedded: EmbeddedSettings = Field(default_factory=EmbeddedSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment before the TOML file, and the file before what `jobstream up` wrote."""
        config = Path(os.environ.get("JOBSTREAM_CONFIG", "jobstream.toml"))
        file = TomlConfigSettingsSource(settings_cls, config)
        home = Path(os.environ.get("JOBSTREAM_HOME") or file.toml_data.get("home") or ".jobstream")
        return (init_settings, env_settings, file, TomlConfigSettingsSource(settings_cls, home / CLUSTER_FILE))

    @property
    def topology(self) -> Topology:
        """The topics, as these settings size them."""
        return _topology(self.topics)

    @property
    def work_root(self) -> Path:
        """The worker's root work directory."""
        return (self.worker.root or self.home / "work").resolve()

    @property
    def product_store(self) -> Path:
        """The folder where products are published, or would be if there were no object store."""
        store = None if self.product_bucket else self.worker.store
        return Path(store or self.home / "products").resolve()

    @property
    def product_bucket(self) -> str | None:
        """The URL of the object store where products are published; None where it is a folder."""
        store = self.worker.store
        return store if isinstance(store, str) and "://" in store else None

    @property
    def input_cache(self) -> Path:
        """Where workers keep inputs for each other."""
        return (self.inputs.cache or self.home / "cache").resolve()

    @property
    def image_folder(self) -> Path:
        """Where workers tell each other about images."""
        return (self.images.folder or self.home / "images").resolve()

    def key(self) -> bytes:
        """Return the key of the attempt tokens, made on first use and readable by the owner alone."""
        if self.token_key is not None:
            return self.token_key.get_secret_value().encode()
        path = self.home / "token.key"
        if not path.exists():
            self._make_key(path)
        return path.read_bytes()

    @staticmethod
    def _make_key(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.touch(mode=0o600)
        fresh.write_bytes(secrets.token_hex(32).encode())
        try:
            # a link replaces nothing: of two processes that start at once, one key stays
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()

    def environment(self) -> dict[str, str]:
        """Return the variables that make a child process read these settings, wherever they came from.

        It holds the token key where that was set: hand it to agents, never to jobs.
        """
        own = {f"JOBSTREAM_{name.upper()}": self._as_text(name) for name in type(self).model_fields}
        others = {name: value for name, value in os.environ.items() if name.upper().partition("__")[0] not in own}
        return others | {name: text for name, text in own.items() if text is not None}

    def _as_text(self, name: str) -> str | None:
        value = getattr(self, name)
        match value:
            case BaseModel():
                return value.model_dump_json()
            case SecretStr():
                return value.get_secret_value()
            case Path():
                return str(value.resolve())
            case _:
                return None if value is None else str(value)


@lru_cache(maxsize=16)
def _topology(topics: TopicSettings) -> Topology:
    return Topology(**topics.model_dump())
