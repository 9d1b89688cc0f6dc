"""What metering does: load, decide (domain), save, and say it, in the transaction of the caller."""
