"""The artifact store: downloads what artifacts.lock names, and lets nothing else through.

`python -m ops.embedded.fetch [SERVER…]` downloads and verifies ahead of the first start, for instance before going off
line. A file gets its name in the store only once its SHA-256 is the lock's, so an interrupted download
leaves nothing that could be taken for a whole one, and every use hashes the files again (a fraction of a second).
"""

import argparse
import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import requests
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from ops.embedded.artifacts import OPTIONAL, ROOTS, Artifact, locate, of_server, sha256_of
from ops.embedded.errors import EmbeddedError
from ops.embedded.filelock import file_lock
from ops.embedded.progress import MIB, Reporter, Silence, reporter

#: downloads at a time; more gain nothing, since one archive is most of the bytes
PARALLEL = 4
#: tries for one file before giving up
ATTEMPTS = 3
#: seconds without a byte after which a connection counts as dead
READ_TIMEOUT = 30
#: seconds to wait for another process that is downloading into the same cache
LOCK_TIMEOUT = 900.0
#: bytes that stay free on the cache's disk beyond what is downloaded
DISK_RESERVE = 64 * MIB


def default_cache() -> Path:
    """Return the folder of downloads: JOBSTREAM_CACHE, else ~/.cache/jobstream; shared by all projects of a user."""
    return Path(os.environ.get("JOBSTREAM_CACHE") or Path.home() / ".cache" / "jobstream")


def require_disk(folder: Path, needed: int, purpose: str) -> None:
    """Raise EmbeddedError unless the disk of `folder` has `needed` bytes free (and a reserve) for `purpose`."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed + DISK_RESERVE:
        raise EmbeddedError(
            f"not enough disk for {purpose}: {folder} has {free // MIB} MiB free, "
            f"{(needed + DISK_RESERVE) // MIB} MiB are needed; free some, or choose another folder"
        )


class _TruncatedError(Exception):
    """A download that ended early; worth another try."""


class _StoppedError(Exception):
    """Another download failed, or the operator interrupted: this one has no purpose any more."""


class ArtifactStore:
    """Verified artifacts in a folder that several processes and projects may share."""

    def __init__(self, cache: Path | None = None, repository: str | None = None) -> None:
        """Keep artifacts below `cache`, downloading from `repository` (a Maven repository's URL).

        Without `repository`, JOBSTREAM_MAVEN_REPOSITORY says where from, else Maven Central is used.
        """
        self.cache = (cache or default_cache()).expanduser().absolute()
        self._repository = repository or os.environ.get("JOBSTREAM_MAVEN_REPOSITORY")
        self._folder = self.cache / "artifacts"
        self._partial = self.cache / "partial"

    def path(self, artifact: Artifact) -> Path:
        """Return where the artifact lies once it was fetched."""
        return self._folder / artifact.path

    def ensure(self, artifacts: Sequence[Artifact], what: str, tell: Reporter | None = None) -> list[Path]:
        """Return the paths of all `artifacts`, verified, downloading those that are missing or damaged.

        Touches no network where all are present. Raises EmbeddedError for a network, disk or checksum failure; files
        that came before it are kept.
        """
        if self._missing(artifacts):
            with file_lock(self.cache / "fetch.lock", LOCK_TIMEOUT, f"downloading {what}"):
                # another process may have fetched them while this one waited
                missing = self._missing(artifacts)
                if missing:
                    self._download_all(missing, what, tell or Silence())
        return [self.path(one) for one in artifacts]

    def _missing(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        return [one for one in artifacts if not _matches(self.path(one), one)]

    def _download_all(self, missing: Sequence[Artifact], what: str, tell: Reporter) -> None:
        size = sum(one.size for one in missing)
        require_disk(self.cache, size, f"downloading {what}")
        # what an interrupted run left: incomplete by definition
        shutil.rmtree(self._partial, ignore_errors=True)
        tell.started(what, len(missing), size)
        stop = threading.Event()
        pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="fetch")
        try:
            running = [pool.submit(self._download, one, tell, stop) for one in missing]
            _raise_first(running)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(self._partial, ignore_errors=True)

    def _download(self, artifact: Artifact, tell: Reporter, stop: threading.Event) -> None:
        """Download one file and give it its name in the store, if its bytes are the right ones."""
        try:
            for attempt in Retrying(
                stop=stop_after_attempt(ATTEMPTS),
                wait=wait_exponential(multiplier=0.5, max=5),
                retry=retry_if_exception_type((requests.RequestException, RuntimeError, _TruncatedError)),
            ):
                with attempt:
                    fresh = self._receive(artifact, tell, stop)
        except RetryError as failed:
            cause = failed.last_attempt.exception()
            raise EmbeddedError(_unreachable(artifact, cause)) from cause
        except OSError as failed:
            raise EmbeddedError(_unwritable(self.cache, artifact, failed)) from failed
        if sha256_of(fresh) != artifact.sha256:
            fresh.unlink()
            raise EmbeddedError(
                f"{artifact} is not the file that was pinned: its SHA-256 is not artifacts.lock's, so it was removed. "
                "A proxy may have replaced it: try again, from another network if it happens twice"
            )
        target = self.path(artifact)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh.replace(target)
        tell.finished(artifact.filename)

    def _receive(self, artifact: Artifact, tell: Reporter, stop: threading.Event) -> Path:
        """Download one file into the folder of partial files; a try that fails takes back what it told."""
        from jgo.maven import MavenContext, PythonResolver

        received = 0

        @contextmanager
        def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
            def update(count: int) -> None:
                nonlocal received
                if stop.is_set():
                    raise _StoppedError
                received += count
                tell.received(count)

            yield update

        context = MavenContext(
            resolver=PythonResolver(progress_callback=progress),
            repo_cache=self._partial,
            remote_repos={"repository": self._repository} if self._repository else None,
            timeout=READ_TIMEOUT,
        )
        # jgo takes a file that is there for a whole one
        (self._partial / artifact.path).unlink(missing_ok=True)
        if stop.is_set():
            raise _StoppedError
        try:
            wanted = locate(
                context, artifact.group, artifact.name, artifact.version, artifact.classifier, artifact.packaging
            )
            fresh = Path(wanted.resolve())
            if fresh.stat().st_size < artifact.size:
                raise _TruncatedError(f"only {fresh.stat().st_size} of {artifact.size} bytes came")
        except BaseException:
            tell.received(-received)
            raise
        return fresh


def _matches(path: Path, artifact: Artifact) -> bool:
    try:
        return path.stat().st_size == artifact.size and sha256_of(path) == artifact.sha256
    except OSError:
        return False


def _raise_first(running: Sequence[Future[None]]) -> None:
    for one in as_completed(running):
        one.result()


def _unreachable(artifact: Artifact, cause: BaseException | None) -> str:
    return (
        f"{artifact} could not be downloaded in {ATTEMPTS} tries ({type(cause).__name__}: {cause}). "
        "Is the network up, and is HTTPS_PROXY set where one is needed? JOBSTREAM_MAVEN_REPOSITORY can name another "
        "Maven repository. What has come is kept: the next try goes on from there"
    )


def _unwritable(cache: Path, artifact: Artifact, cause: OSError) -> str:
    full = cause.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some disk" if full else "make the folder writable"
    return f"{artifact} could not be stored in {cache} ({cause}): {remedy}, or set JOBSTREAM_CACHE to another folder"


def main(arguments: Sequence[str]) -> int:
    """Download and verify servers' artifacts; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ops.embedded.fetch", description="Download the embedded servers.")
    parser.add_argument(
        "servers", nargs="*", metavar="SERVER", help=f"of {', '.join(ROOTS)}; by default those of an installation"
    )
    parser.add_argument("--cache", type=Path, default=None, help=f"folder of downloads; {default_cache()}")
    parser.add_argument("--paths", action="store_true", help="print where the files are, for scripts")
    options = parser.parse_args(arguments)
    if unknown := set(options.servers) - set(ROOTS):
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    store = ArtifactStore(options.cache)
    began = time.monotonic()
    try:
        with reporter() as tell:
            wanted = options.servers or [server for server in ROOTS if server not in OPTIONAL]
            paths = [path for server in wanted for path in store.ensure(of_server(server), server, tell)]
    except EmbeddedError as failed:
        sys.stderr.write(f"error: {failed}\n")
        return 1
    summary = f"servers' artifacts are complete in {store.cache} ({time.monotonic() - began:.1f} s)"
    sys.stdout.write("\n".join(map(str, paths) if options.paths else [summary]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
