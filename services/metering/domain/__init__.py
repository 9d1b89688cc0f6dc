"""The rules of metering: pure functions over values. Nothing here opens, reads the clock, or waits."""
