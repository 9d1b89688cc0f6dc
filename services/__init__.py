"""The services. Each owns its store; none imports another."""
