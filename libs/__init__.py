"""Libraries of all Maestro services. They import downwards only: access, bus, store, schemas, signing, runtime."""
