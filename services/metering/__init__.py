"""Metering: turns spans and usage events into exact totals."""
