"""The evidence service: signs what other services issue, keeps it by digest, and lets a stranger check it."""
