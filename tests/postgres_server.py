"""A PostgreSQL server of a test's own, as its packages bring it: one cluster, on loopback, not run by root."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.embedded.ports import free_port
from ops.embedded.unprivileged import account, make_public, public_place
from tests.conftest import unavailable
from tests.waiting import until

USER, DATABASE = "postgres", "postgres"
#: what a test need not wait for: its data ends with it
_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=20")


@dataclass(frozen=True)
class Postgres:
    """A running server, asked by `psql`."""

    programs: Path
    port: int
    password: str

    def sql(self, text: str) -> str:
        """Run statements in one transaction; return what the last one answers, unadorned."""
        done = subprocess.run(
            [self.programs / "psql", "-XqAt1", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            input=text,
            env={**self._client(), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def answers(self) -> bool:
        asked = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked, timeout=30, check=False).returncode == 0

    def _client(self) -> dict[str, str]:
        place = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port)}
        return {**place, "PGUSER": USER, "PGDATABASE": DATABASE, "PGPASSWORD": self.password}


@contextmanager
def postgres(home: Path) -> Iterator[Postgres]:
    """A server with logical decoding inside, gone after."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None, key=lambda one: one.parts[-3])
    if programs is None:
        unavailable("PostgreSQL isn't installed: apt-get install postgresql")
    folder = public_place(home / "postgres")
    make_public(folder)
    who = account()
    if who is not None:
        os.chown(folder, who.uid, who.gid)
    server = Postgres(programs.parent, free_port(), secrets.token_urlsafe(16))
    process = None
    try:
        _made(server, folder)
        process = _started(server, folder)
        until(server.answers, 60, what="PostgreSQL answers")
        yield server
    finally:
        if process is not None:
            process.terminate()
            process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _made(server: Postgres, folder: Path) -> None:
    password = folder / "password"
    password.write_text(server.password)
    options = ["--auth=scram-sha-256", "--username", USER, "--pwfile", str(password), "--no-sync", "--encoding=UTF8"]
    done = subprocess.run(
        [server.programs / "initdb", "-D", folder / "data", *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
        **_unprivileged(),
    )
    assert done.returncode == 0, done.stderr
    password.unlink()


def _started(server: Postgres, folder: Path) -> "subprocess.Popen[bytes]":
    settings = [
        f"port={server.port}",
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "wal_level=logical",
        *_QUICK,
    ]
    words = [word for setting in settings for word in ("-c", setting)]
    with (folder / "postgres.log").open("wb") as log:
        return subprocess.Popen(
            # it ends with the tests, however these end
            ["setpriv", "--pdeathsig", "INT", server.programs / "postgres", "-D", folder / "data", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            **_unprivileged(),
        )


def _unprivileged() -> dict[str, object]:
    who = account()
    return {} if who is None else {"user": who.uid, "group": who.gid, "extra_groups": []}
