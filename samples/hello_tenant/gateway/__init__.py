"""The demo gateway: a customer's small FastAPI application, with stock OpenTelemetry and the Maestro SDK."""
