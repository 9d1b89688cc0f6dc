"""Tries every route of a service with credentials that are not meant for what it holds.

Tenant `theirs` has things; the keys `mine` (another tenant's) and `edge` (a gateway's, which may not act for it) ask
for them, and so does nobody at all. What is answered is said for every route by the service's own test; a route of the
OpenAPI document without an entry fails it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from tests.support.answers import Ask, Stage, documented


@dataclass(frozen=True)
class Trial:
    """A request for another tenant's things, what `mine` and `edge` are answered, and the like for what is not there.

    Where `absent` is given, another's thing must look like it in every word.
    """

    ask: Ask
    mine: int
    edge: int
    absent: Ask | None = None


async def try_across(
    stage: Stage, trials: Sequence[Trial], *, theirs: Sequence[str], open_to_all: Sequence[tuple[str, str]] = ()
) -> None:
    """Try all; fail where an answer has another status, or holds one of the texts that only `theirs` may read."""
    wrong: list[str] = []
    for trial in trials:
        for key, status in (("mine", trial.mine), ("edge", trial.edge), ("", 401)):
            answer = await stage.answer(trial.ask.but(key=key))
            said = answer.text.replace(answer.request.url.path, "")  # a problem names the path that was asked for
            shown = [text for text in theirs if text in said]
            if answer.status_code != status or shown:
                wrong.append(f"{key or 'nobody'}: {trial.ask} -> {answer.status_code}, not {status}; shows {shown}")
        if trial.absent is not None:
            there = await stage.answer(trial.ask.but(key="mine"))
            absent = await stage.answer(trial.absent.but(key="mine"))
            if in_words(there) != in_words(absent):
                wrong.append(
                    f"{trial.ask} can be told apart from what is absent: {in_words(there)}, {in_words(absent)}"
                )
    assert wrong == [], "\n".join(wrong)
    tried = {(trial.ask.method, trial.ask.route) for trial in trials}
    routes = {(method, route) for method, route, _ in documented(stage.app) if route != "/readyz"}
    assert tried | set(open_to_all) == routes, f"not tried across tenants: {routes - tried - set(open_to_all)}"


def in_words(answer: httpx.Response) -> dict[str, object]:
    """Return what a caller can learn from a refusal, but for the path that it asked for itself."""
    document: dict[str, object] = answer.json()
    return {name: value for name, value in document.items() if name not in {"instance", "request_id"}}
