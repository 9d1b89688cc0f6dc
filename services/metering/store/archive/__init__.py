"""The archive of raw events: its columns, its folder, its manifest in metering's store, and reading it again."""
