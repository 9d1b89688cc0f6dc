"""The catalogue as documents: what is sold, and which of it is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from libs.runtime.errors import Broken, Rejected
from libs.schemas.events import Limits, PlanChanged, PriceMap
from libs.schemas.values import MINOR_DIGITS, Name
from services.quota.domain.gcra import MAX_PER_S

MAX_STORAGE_GB: Final = 1_000_000_000  # an exabyte

Rate = Annotated[int, Field(ge=1, le=MAX_PER_S)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metadata(_Part):
    """`name` is the plan's id for ever."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")


class DocumentLimits(_Part):
    """Requests per second, ingested events per second, and stored GB (10^9 bytes); a burst is one second of a rate."""

    qps: Rate
    events_s: Rate
    storage_gb: int = Field(ge=1, le=MAX_STORAGE_GB)


class PlanSpec(_Part):
    """What a plan is called, allows and costs. Prices are decimal text or whole numbers, never floats."""

    title: Name
    limits: DocumentLimits
    currency: str
    price_map: PriceMap

    @model_validator(mode="after")
    def _is_billable(self) -> PlanSpec:
        if self.currency not in MINOR_DIGITS:
            raise ValueError(f"currency: {self.currency!r} is not one that we bill in")
        if min(self.price_map.gql_per_million, self.price_map.ingest_per_k) < 0:
            raise ValueError("price_map: a price is not negative")
        return self


class PlanDocument(_Part):
    """One plan."""

    kind: Literal["Plan"]
    metadata: Metadata
    spec: PlanSpec

    def as_version(self, version: int, now: datetime) -> PlanChanged:
        """Return the plan as its version `version`, sold from `now` on."""
        return PlanChanged(
            plan_id=self.metadata.name,
            version=version,
            name=self.spec.title,
            limits=Limits(**self.spec.limits.model_dump()),
            price_map=self.spec.price_map,
            currency=self.spec.currency,
            effective_at=now,
        )


def read_catalogue(text: str, *, name: str) -> Sequence[PlanDocument]:
    """Return the plans of the YAML in `text`; raise Broken, naming the file `name` and the first mistake."""
    try:
        documents = [PlanDocument.model_validate(document) for document in yaml.safe_load_all(text)]
    except yaml.YAMLError as error:
        raise Broken(f"{name} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise Broken(f"{name}: {where}: {first['msg']}") from error
    except Rejected as error:  # of a price: decimals say so themselves
        raise Broken(f"{name}: {error.detail}") from error
    names = [document.metadata.name for document in documents]
    if len(set(names)) < len(names):
        raise Broken(f"{name}: two plans of one name among {', '.join(names)}")
    return documents


def new_versions(
    documents: Sequence[PlanDocument], held: Mapping[str, PlanChanged], now: datetime
) -> Sequence[PlanChanged]:
    """Return the versions that the documents add to the newest ones in `held`.

    A document that says what its plan already says adds none. A plan without a document stays: tenants may be on it.
    """
    return [plan for document in documents if (plan := _next_version(document, held, now)) is not None]


def _next_version(document: PlanDocument, held: Mapping[str, PlanChanged], now: datetime) -> PlanChanged | None:
    newest = held.get(document.metadata.name)
    if newest is None:
        return document.as_version(1, now)
    is_same = document.as_version(newest.version, newest.effective_at) == newest
    return None if is_same else document.as_version(newest.version + 1, now)
