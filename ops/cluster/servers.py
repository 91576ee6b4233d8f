"""The embedded servers of an installation, on the ports that it was given or chose."""

import time
from collections.abc import Mapping
from pathlib import Path

from ops.cluster.file import Plan
from ops.cluster.process_status import ProcessStatus
from ops.cluster.steps import Downloads, Tell, step
from ops.embedded.elasticsearch import EmbeddedElasticsearch
from ops.embedded.kafka import EmbeddedKafka
from ops.embedded.ports import is_free
from ops.embedded.server import EmbeddedServer
from pipeline.settings import EmbeddedSettings, Settings

#: s that a server gets to stop
STOP_TIMEOUT = 30.0


class Servers:
    """Those servers of `plan` that are ours to run; `chosen` are the ports that an earlier start chose."""

    def __init__(self, home: Path, settings: Settings, plan: Plan, chosen: Mapping[str, int]) -> None:
        self._chosen = dict(chosen)
        self._home = home
        self._settings = settings.embedded
        wanted = [name for name, is_ours in (("kafka", plan.kafka), ("elasticsearch", plan.elasticsearch)) if is_ours]
        self._servers = {name: self._made(name) for name in wanted}

    @property
    def names(self) -> list[str]:
        """Return which servers there are, whether they run or not."""
        return list(self._servers)

    def __contains__(self, name: str) -> bool:
        return name in self._servers

    def __getitem__(self, name: str) -> EmbeddedServer:
        return self._servers[name]

    def start(self, name: str, progress: Tell) -> None:
        """Have a server running and ready; nothing where it isn't ours. Raises EmbeddedError."""
        server = self._servers.get(name)
        if server is None:
            return
        with step(progress, name) as outcome:
            ran = server.is_running()
            if not ran:
                # which of the chosen ports are free is known only now
                server = self._servers[name] = self._made(name)
            endpoint = server.start(Downloads(progress, name))
            self._chosen |= server.ports
            if ran:
                outcome.kept(endpoint)
            else:
                outcome.detail = endpoint

    def stop(self, name: str, progress: Tell, timeout: float | None = None) -> bool:
        """Stop a server, by force after `timeout` seconds; return whether it ran."""
        server = self._servers.get(name)
        if server is None or not server.is_running():
            return False
        with step(progress, name, "stopping") as outcome:
            server.stop(STOP_TIMEOUT if timeout is None else timeout)
            outcome.detail = "stopped"
        return True

    def endpoint(self, name: str) -> str | None:
        """Return where a server listens; None where it doesn't run or isn't ours."""
        server = self._servers.get(name)
        return server.endpoint if server is not None else None

    def ports(self) -> dict[str, int]:
        """Return every port that is in use or was chosen before, by use."""
        running = [server.ports for server in self._servers.values()]
        return {**self._chosen, **{use: port for ports in running for use, port in ports.items()}}

    def status(self, name: str) -> ProcessStatus:
        """Look at a server, and ask it whether it is ready."""
        status = self._servers[name].status()
        since = time.time() - status.uptime_s if status.running else None
        return ProcessStatus(
            name, "server", status.ready, status.pid, status.endpoint or "", status.memory_bytes, since, status.log
        )

    def _made(self, name: str) -> EmbeddedServer:
        wanted = self._settings
        if name == "kafka":
            return EmbeddedKafka(
                self._home,
                self._port("broker", "kafka_port"),
                self._port("controller", "controller_port"),
                cache=wanted.cache,
                heap_mib=wanted.kafka_heap_mib,
                release=wanted.kafka_release,
            )
        return EmbeddedElasticsearch(
            self._home,
            self._port("http", "elasticsearch_port"),
            self._port("transport", "transport_port"),
            cache=wanted.cache,
            heap_mib=wanted.elasticsearch_heap_mib,
        )

    def _port(self, use: str, name: str) -> int:
        """Return the port to ask for, 0 for any free one.

        A port that an earlier start chose is kept unless the settings name another: neither 0 nor the default does. One
        that is taken is taken by our own server, which `start` finds, or by somebody else.
        """
        wanted: int = getattr(self._settings, name)
        chosen = self._chosen.get(use, 0)
        if not chosen or wanted not in (0, EmbeddedSettings.model_fields[name].default):
            return wanted
        return chosen if is_free(chosen) else 0
