"""The quota service: plans, who is on which, and whether a request may pass now."""
