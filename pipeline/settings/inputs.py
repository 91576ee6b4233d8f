"""Settings of jobs' inputs."""

from pathlib import Path

from pydantic import Field

from pipeline.settings.section import Section


class InputSettings(Section):
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
