"""Listens: commands for this holder, and settings of this worker, by one consumer in a thread of its own."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from agents.bus import consumer, end_offsets, read_to_end
from agents.fetching import Fetching
from agents.worker.actor import Actor
from agents.worker.rack import Rack
from pipeline.codec import Codec, DecodeError, Record, decode_json
from pipeline.identity import is_newer, worker_of
from pipeline.messages.command import Command
from pipeline.protocol import SETTING, Protocol
from pipeline.sealing import HolderKey, SealingError
from pipeline.settings import Settings

log = logging.getLogger(__name__)

#: Seconds that one poll waits at most: how long closing may take.
_POLL = 1.0
#: Characters of a reason to drain.
_REASON = 500
#: Records handed to the loop at a time.
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Heard:
    """A command for this holder, and the broker's time of its record (ms)."""

    command: Command
    stamp: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Whether operators want this worker to take no more jobs."""

    draining: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A command for a newer process with this worker id was seen."""

    holder: str


@dataclass(frozen=True, slots=True)
class Met:
    """An orchestrator said what it speaks, and it is not what was heard before."""

    orchestrator: Protocol


Event = Heard | Drain | Superseded | Met


class Ear:
    """Reads this worker's commands partition from its end of now on, and its settings from their start.

    `open` asks for the end offset, `start` begins to hand over what comes: between the two the first status is sent.
    """

    def __init__(self, settings: Settings, codec: Codec, holder: str, key: HolderKey | None = None) -> None:
        topology = settings.topology
        self._codec = codec
        self._key = key
        self._holder = holder
        self._worker = worker_of(holder)
        self._commands = topology.commands.name
        self._settings = topology.settings.name
        self._partition = topology.commands_partition(self._worker)
        self._given = settings
        self._client: Consumer = consumer(settings, f"worker-{self._worker}")
        self._fetching = Fetching(self._client, places=self._places)
        self._met: Protocol | None = None
        #: What the orchestrator had said of itself before `open`.
        self._first: Met | None = None
        #: Up to where each topic is read.
        self._read: dict[str, int] = {}
        self._closing = threading.Event()
        self._opened = False
        self._thread: threading.Thread | None = None

    def open(self) -> Drain:
        """Assign the commands from their end on; return whether the worker is set to drain.

        Blocks; raises KafkaException or TimeoutError where the brokers don't answer, and may be called again.
        """
        drain, self._met, self._first = Drain(False), None, None
        for message in read_to_end(self._client, self._settings, [0]):
            if message.key() == SETTING.encode():
                self._first = self._announced(message) or self._first
            else:
                drain = self._setting(message) or drain
        (read,) = self._client.position([TopicPartition(self._settings, 0)])
        end = end_offsets(self._client, self._commands, [self._partition])[self._partition]
        self._read = {self._commands: end, self._settings: max(0, read.offset)}
        self._assign()
        self._opened = True
        return drain

    def start(self, hand_over: Callable[[list[Event]], None], failed: Callable[[BaseException], None]) -> None:
        """Begin to call `hand_over` on the running loop; `failed` is called once if reading can't go on."""
        loop = asyncio.get_running_loop()

        def body() -> None:
            try:
                for batch in self._batches():
                    loop.call_soon_threadsafe(hand_over, batch)
            except Exception as error:
                if not self._closing.is_set():
                    loop.call_soon_threadsafe(failed, error)

        self._thread = threading.Thread(target=body, name="commands", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading; blocks for two polls at most. A client that another thread still uses is left to the exit."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(2 * _POLL)
        if self._opened and not (self._thread and self._thread.is_alive()):
            self._client.close()

    def _assign(self) -> None:
        self._client.assign(
            [
                TopicPartition(self._commands, self._partition, self._read[self._commands]),
                TopicPartition(self._settings, 0, self._read[self._settings]),
            ]
        )

    def _places(self) -> list[TopicPartition]:
        return [TopicPartition(self._commands, self._partition, self._read[self._commands])]

    def _replace_client(self) -> None:
        log.warning("the consumer of commands has stopped fetching, and is replaced")
        self._client.close()
        self._client = consumer(self._given, f"worker-{self._worker}")
        self._fetching = Fetching(self._client, places=self._places)
        self._assign()

    def _batches(self) -> Iterator[list[Event]]:
        if self._first is not None:
            yield [self._first]
        while not self._closing.is_set():
            batch: list[Event] = []
            message = self._client.poll(_POLL)
            if message is None and self._fetching.has_stopped():
                self._replace_client()
            while message is not None:
                batch += self._events(message)
                if len(batch) >= _BATCH:
                    break
                message = self._client.poll(0)
            if batch:
                yield batch

    def _events(self, message: Message) -> Iterator[Event]:
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:
                log.warning("reading commands: %s", error.str())
            return
        self._read[message.topic()] = message.offset() + 1
        if message.topic() == self._settings:
            event = self._announced(message) if message.key() == SETTING.encode() else self._setting(message)
            if event is not None:
                yield event
        else:
            yield from self._heard(message)

    def _heard(self, message: Message) -> Iterator[Event]:
        holder = (message.key() or b"").decode(errors="replace")
        if worker_of(holder) != self._worker:
            return
        if holder != self._holder:
            if is_newer(holder, self._holder):
                yield Superseded(holder)
            return
        # before the command, which perhaps can't be read: whoever sent it says what it speaks beside it
        met = self._meet(Protocol.in_headers(message.headers()))
        if met is not None:
            yield met
        command = self._command(message)
        if command is not None:
            yield command

    def _meet(self, orchestrator: Protocol) -> Met | None:
        if orchestrator == self._met:
            return None
        self._met = orchestrator
        return Met(orchestrator)

    def _announced(self, message: Message) -> Met | None:
        try:
            return None if message.value() is None else self._meet(Protocol.in_setting(decode_json(message.value())))
        except (DecodeError, KeyError, TypeError, ValueError) as error:
            log.error("what the orchestrator speaks can't be read: %s", error)
            return None

    def _command(self, message: Message) -> Heard | None:
        try:
            command = self._unsealed(Command.of(self._decoded(message)))
        except (DecodeError, KeyError, TypeError, ValueError) as error:
            log.error("command at offset %s left out: %s", message.offset(), error)
            return None
        # the key is only a hint for filtering: the record itself says whom it is for
        return Heard(command, message.timestamp()[1]) if command.holder == self._holder else None

    def _unsealed(self, command: Command) -> Command:
        if command.sealed is None or command.holder != self._holder:
            return command
        if self._key is None:
            raise SealingError("a sealed grant, and this worker has no key")
        return self._key.open(command)

    def _decoded(self, message: Message) -> Record:
        while True:
            try:
                return self._codec.decode("command", message.value())
            except OSError as error:
                # the registry is away: a grant that is left out would cost its job a whole lease
                log.warning("commands wait: %s", error)
                if self._closing.wait(_POLL):
                    raise DecodeError("the worker is stopping") from error

    def _setting(self, message: Message) -> Drain | None:
        if message.key() != f"worker/{self._worker}".encode():
            return None
        if message.value() is None:
            return Drain(False)
        try:
            setting = decode_json(message.value())
            return Drain(setting.get("draining") is True, str(setting.get("reason") or "")[:_REASON])
        except DecodeError as error:
            log.error("setting of this worker left out: %s", error)
            return None


class Listener(Actor):
    """Heeds what the ear heard, in order."""

    def __init__(self, rack: Rack, superseded: Callable[[], None]) -> None:
        super().__init__()
        self._rack = rack
        self._superseded = superseded
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def hand_over(self, events: list[Event]) -> None:
        """Take what was heard."""
        for event in events:
            self._events.put_nowait(event)

    async def act(self) -> None:
        """Heed one event after the other; one that fails is not tried again."""
        while True:
            match await self._events.get():
                case Heard(command, stamp):
                    self._rack.heed(command, stamp)
                case Drain(draining, reason):
                    log.info("draining: %s" if draining else "taking jobs%s", reason)
                    self._rack.drain(draining, reason)
                case Met(orchestrator):
                    self._rack.meet(orchestrator)
                case Superseded(holder):
                    log.warning("a newer process has this worker id: %s", holder)
                    self._superseded()
