"""The rules of invoicing, pure: what a close needs, what usage costs, what an invoice's files say.

The rooms, from the bottom up: `windows` (our copies against the frozen set), `pricing` (which plan version is in
force), `rating` (usage -> lines), `documents` (lines -> files and manifest), `closing` (the states of a close).
"""
