"""Who logs in to the embedded broker before any service does: its operator, and the broker itself to its controller."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deploy.local.credentials import password, write_private
from deploy.local.places import Places

OPERATOR: Final = "operator"  # super user: topics, logins, ACLs; `maestro up` and the verbs of the bus
NODE: Final = "broker"  # super user: the node among its own, also where it speaks to its controller

# One entry for each listener, as the JVM looks them up. The controller's listener takes PLAIN, for passwords of SCRAM
# lie in the log that it leads: whoever cannot reach it by loopback and has not this file cannot write that log.
JAAS: Final = """\
clients.KafkaServer {{
  org.apache.kafka.common.security.scram.ScramLoginModule required username="{node}" password="{secret}";
}};
controller.KafkaServer {{
  org.apache.kafka.common.security.plain.PlainLoginModule required username="{node}" password="{secret}"
  user_{node}="{secret}";
}};
"""


class BrokerLogins:
    """The secrets of the embedded broker, files of the stack's `secrets`."""

    def __init__(self, places: Places) -> None:
        self._secrets = places.secrets

    @property
    def operator_file(self) -> Path:
        """The operator's password."""
        return login_file(self._secrets, OPERATOR)

    @property
    def jaas_file(self) -> Path:
        """What the broker's JVM logs in with and checks logins against."""
        return self._secrets / "kafka.jaas.conf"

    def make(self) -> None:
        """Write the files; passwords that are there stay."""
        password(self.operator_file)
        write_private(self.jaas_file, JAAS.format(node=NODE, secret=password(login_file(self._secrets, NODE))))

    def format_arguments(self) -> Path:
        """Write the two first logins as arguments of Kafka's storage tool, a line each; who is done removes the file.

        The tool reads them from a file (`@file`): on its command line everybody could.
        """
        lines = [
            f"--add-scram\nSCRAM-SHA-512=[name={user},password={password(login_file(self._secrets, user))}]\n"
            for user in (OPERATOR, NODE)
        ]
        path = self._secrets / "kafka.format"
        write_private(path, "".join(lines))
        return path


def login_file(secrets: Path, user: str) -> Path:
    """Where the password of a login lies."""
    return secrets / f"{user}.kafka.password"
