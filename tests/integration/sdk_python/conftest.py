"""The SDK against the services it talks to."""

from tests.support.quota_service import quota, settings

__all__ = ["quota", "settings"]
