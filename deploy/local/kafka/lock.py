"""Write `jgo.lock.toml` anew: `python -m deploy.local.kafka.lock`. Needed only when the versions below change.

jgo's resolver walks Kafka's dependencies; its own lock format keeps what it found with SHA-256 digests. The digests
are of what arrived: compare a change against the published ones before it is committed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from jgo.env import LockFile
from jgo.maven import MavenContext, PythonResolver
from jgo.parse import Coordinate

from deploy.local.kafka.jars import LOCK

KAFKA = "org.apache.kafka:kafka_2.13:4.3.0"
# Without a binding Kafka logs nothing at all. It is taken alone: its dependencies are among Kafka's, and resolved
# beside Kafka its own rules would replace kafka-clients by an older version.
BINDING = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"


def main() -> int:
    """Resolve, and write the lock file."""
    with tempfile.TemporaryDirectory() as repository:
        context = MavenContext(repo_cache=Path(repository), resolver=PythonResolver())
        kafka, binding = (context.create_dependency(Coordinate.parse(name)) for name in (KAFKA, BINDING))
        named, found = context.resolver.resolve([kafka])
        lock = LockFile.from_resolved_dependencies([*named, *found, binding], environment_name="kafka")
        lock.save(LOCK)
    sys.stdout.write(f"{LOCK}: {len(lock.dependencies)} jars\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
