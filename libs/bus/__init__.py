"""Kafka, and the two halves of exactly once: stored offsets coming in, a sequenced outbox going out. See README.md."""
