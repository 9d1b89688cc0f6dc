"""The broker: one node that is broker and controller, on 127.0.0.1 only. Both ask for a login and deny by default."""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from deploy.local.credentials import write_private
from deploy.local.errors import PartFailed
from deploy.local.kafka.jars import fetch, locked_jars
from deploy.local.kafka.logins import NODE, OPERATOR, BrokerLogins
from deploy.local.kafka.probe import ask_broker, furnish
from deploy.local.packages import installed_java
from deploy.local.parts import Launch, Say
from deploy.local.places import Places
from deploy.local.ports import HOST, Ports
from libs.bus.kafka.access import KafkaAccess

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
listeners=CLIENTS://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=CLIENTS://{host}:{broker},CONTROLLER://{host}:{controller}
listener.security.protocol.map=CLIENTS:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
inter.broker.listener.name=CLIENTS
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.controller.sasl.enabled.mechanisms=PLAIN
sasl.mechanism.controller.protocol=PLAIN
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{operator};User:{node}
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
        users: the logins to make, by name, with the files that hold their passwords.
        properties: what its configuration has beyond ours, such as one more listener.
    """

    name = "kafka"
    needs: tuple[str, ...] = ()
    ready_within_s = 90.0
    waits_for = "the broker's metadata and its group coordinator"

    def __init__(
        self,
        places: Places,
        ports: Ports,
        jars: Path,
        users: Mapping[str, Path],
        properties: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folder = places.kafka
        self._data = places.kafka / "data"
        self._properties = places.kafka / "server.properties"
        self._ports = ports
        self._jars = jars
        self._logins = BrokerLogins(places)
        self._users = users
        self._further = properties

    def prepare(self, say: Say) -> None:
        """Fetch and check the jars, write configuration and secrets, format the storage once."""
        formatted = (self._data / "meta.properties").exists()
        if formatted and not self._logins.operator_file.exists():
            raise PartFailed(
                f"the broker's storage in {self._data} has no login that we know: it is older than logins, or "
                f"{self._logins.operator_file} was removed",
                fix=f"put the file back; or begin anew: maestro down, then move {self._folder.parent} away",
            )
        say("checks the digests of its jars")
        fetch(self._jars, locked_jars(), lambda done, total: say(f"fetches its jars, {done} of {total}"))
        text = PROPERTIES.format(
            host=HOST,
            broker=self._ports.free_port("kafka"),
            controller=self._ports.free_port("kafka-controller"),
            data=self._data,
            operator=OPERATOR,
            node=NODE,
        )
        write_private(self._properties, text + "".join(f"{name}={value}\n" for name, value in self._further.items()))
        self._logins.make()
        if not formatted:
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
        """Log in as the operator, ask for the cluster's metadata, and a group's coordinator for its answer."""
        await ask_broker(self.access())

    async def after_ready(self) -> None:
        """Make topics and logins, and say who may do what."""
        await furnish(self.access(), self._users)

    def address(self) -> str:
        """Host and port of the broker."""
        return self.access().bootstrap

    def access(self) -> KafkaAccess:
        """The operator's access."""
        address = f"{HOST}:{self._ports.port('kafka')}"
        return KafkaAccess(address, OPERATOR, self._logins.operator_file)

    def _java(self, main: str, *arguments: str) -> list[str]:
        class_path = ":".join(str(self._jars / jar.file_name) for jar in locked_jars())
        return [
            *(str(installed_java()), *JVM_FLAGS, f"-Dlog4j2.configurationFile={LOG4J.as_uri()}"),
            f"-Djava.security.auth.login.config={self._logins.jaas_file}",
            *("-cp", class_path, main, *arguments),
        ]

    def _format(self) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        first_logins = self._logins.format_arguments()
        what = ("format", "--standalone", f"--cluster-id={cluster}", "-c", str(self._properties), f"@{first_logins}")
        try:
            done = subprocess.run(
                self._java("kafka.tools.StorageTool", *what),
                cwd=self._folder,
                capture_output=True,
                text=True,
                timeout=FORMAT_TIMEOUT_S,
                check=False,
            )
        finally:
            first_logins.unlink()
        if done.returncode != 0:
            raise PartFailed(f"Kafka's storage could not be formatted: {(done.stdout + done.stderr)[-1000:]}")
