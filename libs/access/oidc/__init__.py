"""Tokens of identity providers (OpenID Connect): whose are taken, which keys prove them, what they grant."""
