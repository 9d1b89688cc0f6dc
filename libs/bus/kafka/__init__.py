"""The bus on Apache Kafka, through aiokafka."""

from libs.bus.kafka.access import KafkaAccess, access_of
from libs.bus.kafka.bus import KafkaBus

__all__ = ["KafkaAccess", "KafkaBus", "access_of"]
