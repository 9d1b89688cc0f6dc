"""The registry of topics: `proto/topics/<topic>.yaml` names owner, consumers, key, retention and event types."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from typing import Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from libs.runtime.errors import Broken

FOLDER: Final = Path(__file__).resolve().parents[2] / "proto" / "topics"
DEAD_LETTER_SUFFIX: Final = "-dlq"
LONGEST_OUTAGE_H: Final = 24 * 7  # promised: a consumer that is down for a week has lost nothing when it is back
DEAD_LETTER_EXTRA_H: Final = 24 * 7  # a dead letter outlives its source by as much
DEAD_LETTER_LEAST_H: Final = 24 * 31
DEAD_LETTER_ROOM_BYTES: Final = 65_536  # for the headers that say what failed
OPERATOR: Final = "operator"  # whose topics dead letters are: no service's, a person decides over them


class Deprecation(BaseModel):
    """An event type that has a successor: still said and read until `removable_on`, a day on which it may go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deprecated_on: date
    removable_on: date
    replaced_by: str


class TopicSpec(BaseModel):
    """One topic. `types` are the CloudEvents types it carries; empty where the records are not CloudEvents of ours.

    `producers` are kinds of logins that write to it in place of its owner, such as `collector`: programs that are no
    service of ours. The broker lets `<kind>` and `<kind>.<anything>` write there, and do nothing else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    owner: str
    consumers: tuple[str, ...] = ()
    producers: tuple[str, ...] = ()
    purpose: str
    key: str
    partitions: int = Field(ge=1, le=256)
    cleanup: Literal["compact", "delete"] = "delete"
    retention_h: int | None = Field(
        None, gt=LONGEST_OUTAGE_H, description="hours; longer than the longest outage promised, None where compacted"
    )
    max_record_bytes: int = 1_048_576
    types: tuple[str, ...] = ()
    format: str | None = Field(None, description="what the records are, where they are no events of ours")
    deprecated: dict[str, Deprecation] = Field(default_factory=dict, description="by type, consumer or producer")
    dead_letter: bool = True

    @property
    def dead_letter_topic(self) -> str:
        """Where records that cannot be understood go."""
        return self.name + DEAD_LETTER_SUFFIX

    def kafka_config(self) -> dict[str, str]:
        """Return the topic's configuration as the broker names it."""
        config = {
            "cleanup.policy": self.cleanup,
            "max.message.bytes": str(self.max_record_bytes),
            "message.timestamp.type": "LogAppendTime",
        }
        if self.retention_h is not None:
            config["retention.ms"] = str(self.retention_h * 3_600_000)
        return config


@cache
def registry() -> dict[str, TopicSpec]:
    """Return all topics by name, dead letter topics not included."""
    specs = [
        TopicSpec.model_validate(yaml.safe_load(path.read_text("utf-8"))) for path in sorted(FOLDER.glob("*.yaml"))
    ]
    return {spec.name: spec for spec in specs}


def topic(name: str) -> TopicSpec:
    """Return the topic called `name`, or raise Broken: a name outside the registry is a mistake in our code."""
    try:
        return registry()[name]
    except KeyError as error:
        raise Broken(f"topic {name!r} has no file in proto/topics") from error


def dead_letter_spec(spec: TopicSpec) -> TopicSpec:
    """Return the dead letter topic of `spec`: one partition, kept longer, records as large and ours.

    The consumers of `spec` write there what they set aside; its owner has no part in it. Who reads the letters and says
    what becomes of them is the operator (`maestro dlq`).
    """
    return TopicSpec(
        name=spec.dead_letter_topic,
        owner=OPERATOR,
        consumers=(OPERATOR,),
        producers=spec.consumers,
        purpose=f"what could not be read on {spec.name}",
        key=spec.key,
        partitions=1,
        retention_h=max(DEAD_LETTER_LEAST_H, (spec.retention_h or 0) + DEAD_LETTER_EXTRA_H),
        max_record_bytes=spec.max_record_bytes + DEAD_LETTER_ROOM_BYTES,
        dead_letter=False,
    )
