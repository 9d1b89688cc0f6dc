"""What Maestro is built from: what is known against it, and which of that is accepted until when."""
