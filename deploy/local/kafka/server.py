"""The broker: one node that is broker and controller, on 127.0.0.1 only."""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from deploy.local.credentials import write_private
from deploy.local.errors import PartFailed
from deploy.local.kafka.jars import fetch, locked_jars
from deploy.local.kafka.probe import ask_broker
from deploy.local.packages import installed_java
from deploy.local.parts import Launch, Say
from deploy.local.places import Places
from deploy.local.ports import HOST, Ports

HEAP = "-Xmx512m"  # about 320 MB resident with the load of the walk
JVM_FLAGS = (  # the first compiler tier and the serial collector start fastest and suit one small broker
    *(HEAP, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
    *("-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true"),
    "--enable-native-access=ALL-UNNAMED",  # for the codecs' native parts, lz4 and zstd
    "--sun-misc-unsafe-memory-access=allow",  # Kafka 4.3 unmaps its index files by it; Java 25 would warn at each start
)
FORMAT_TIMEOUT_S = 60  # 2 s here
LOG4J = Path(__file__).with_name("log4j2.xml")

# A killed broker is let in again only when its last session is over: 4 s instead of 9 s shorten its restart.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
log.segment.bytes=67108864
num.network.threads=2
num.io.threads=4
"""


class Kafka:
    """The embedded broker.

    Args:
        places: folders of the stack.
        ports: remembered ports.
        jars: the folder of the class path.
    """

    name = "kafka"
    needs: tuple[str, ...] = ()
    ready_within_s = 90.0
    waits_for = "the broker's metadata and its group coordinator"

    def __init__(self, places: Places, ports: Ports, jars: Path) -> None:
        self._folder = places.kafka
        self._data = places.kafka / "data"
        self._properties = places.kafka / "server.properties"
        self._ports = ports
        self._jars = jars

    def prepare(self, say: Say) -> None:
        """Fetch and check the jars, write the configuration, format the storage once."""
        say("checks the digests of its jars")
        fetch(self._jars, locked_jars(), lambda done, total: say(f"fetches its jars, {done} of {total}"))
        text = PROPERTIES.format(
            host=HOST,
            broker=self._ports.free_port("kafka"),
            controller=self._ports.free_port("kafka-controller"),
            data=self._data,
        )
        write_private(self._properties, text)
        if not (self._data / "meta.properties").exists():
            say("formats its storage")
            self._format()

    def launch(self) -> Launch:
        """The broker's process."""
        return Launch(
            argv=self._java("kafka.Kafka", str(self._properties)),
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            cwd=self._folder,
            stop_grace_s=20.0,
        )

    async def probe(self) -> None:
        """Ask for the cluster's metadata, and a group's coordinator for its answer."""
        await ask_broker(self.bootstrap())

    async def after_ready(self) -> None:
        """Nothing more is needed: each service declares its topics."""

    def address(self) -> str:
        """Host and port of the broker."""
        return self.bootstrap()

    def bootstrap(self) -> str:
        """The bootstrap address for clients."""
        return f"{HOST}:{self._ports.port('kafka')}"

    def _java(self, main: str, *arguments: str) -> list[str]:
        class_path = ":".join(str(self._jars / jar.file_name) for jar in locked_jars())
        return [
            *(str(installed_java()), *JVM_FLAGS, f"-Dlog4j2.configurationFile={LOG4J.as_uri()}"),
            *("-cp", class_path, main, *arguments),
        ]

    def _format(self) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        argv = self._java(
            "kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster}", "-c", str(self._properties)
        )
        done = subprocess.run(
            argv, cwd=self._folder, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise PartFailed(f"Kafka's storage could not be formatted: {(done.stdout + done.stderr)[-1000:]}")
