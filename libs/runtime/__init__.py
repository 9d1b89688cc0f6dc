"""What every Maestro process needs and no business rule lives in: errors, clock, settings, HTTP shell, traces, logs."""
