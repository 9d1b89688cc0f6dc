"""What Maestro promises to those who talk with it: written down from the code, checked in, and compared over time."""
