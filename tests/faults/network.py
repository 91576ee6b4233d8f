"""An installation whose agents reach the broker through relays, and a worker that has a relay of its own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.embedded.kafka import EmbeddedKafka
from ops.embedded.ports import LOOPBACK, free_port
from tests.integration.relay import Relay

_LISTENERS = """\
listeners=PLAINTEXT://{host}:{broker},AGENTS://{host}:{agents},ALONE://{host}:{alone},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker},AGENTS://{host}:{agents_relay},ALONE://{host}:{alone_relay}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,AGENTS:PLAINTEXT,ALONE:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
"""


class RelayedKafka(EmbeddedKafka):
    """A broker that tells clients of two of its listeners to come back through relays."""

    listeners: str = ""

    def _configure(self, ports: Mapping[str, int]) -> Path:
        properties = super()._configure(ports)
        # of two lines with one name the last counts
        properties.write_text(properties.read_text() + self.listeners.format(host=LOOPBACK, **ports))
        return properties


@dataclass
class Network:
    """The broker; the relay of all agents; and another, of whoever is to be alone on it."""

    broker: RelayedKafka
    agents: Relay
    alone: Relay


@contextmanager
def network(home: Path) -> Iterator[Network]:
    """A broker behind two relays, gone after."""
    broker = RelayedKafka(home, free_port(), free_port(), heap_mib=384)
    behind = {"agents": free_port(), "alone": free_port()}
    relays = {name: Relay(LOOPBACK, port) for name, port in behind.items()}
    told = {**behind, **{f"{name}_relay": relay.port for name, relay in relays.items()}}
    broker.listeners = _LISTENERS
    for name, port in told.items():
        broker.listeners = broker.listeners.replace(f"{{{name}}}", str(port))
    broker.start()
    try:
        yield Network(broker, relays["agents"], relays["alone"])
    finally:
        for relay in relays.values():
            relay.cut()
        broker.wipe()
