"""The contracts between services: value types, the CloudEvents profile, the event models, the registry of topics."""
