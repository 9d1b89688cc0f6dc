"""The schema of this version is laid while the version before it serves; then this version takes over its state.

Expand, then contract: what a migration adds must not disturb the code that does not know it, neither running nor
started anew, and what was counted before counts after.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from deploy.local.accounts import unprivileged_account
from deploy.local.control import bring_up, take_down
from deploy.local.operating import settings_of
from deploy.local.places import CHECKOUT, Places, lay_places
from deploy.local.services import SERVICES
from deploy.local.status import live_status
from libs.bus.offsets import BUS_MIGRATIONS
from libs.store.migrate import STORE_MIGRATIONS, migrate
from libs.store.pool import open_pool
from libs.store.roles import Role
from samples.hello_tenant.maestro_http import Maestro
from samples.hello_tenant.stack import stack_of
from samples.hello_tenant.steps import Cast, Scene
from tests.support.plays import Ending, Play, perform, steady
from tests.support.versions import OldVersion, previous_version, unpacked
from tests.support.whole_stack import WholeStack


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    """Folders of a stack that both versions run, one after the other."""
    folder = Path(tempfile.mkdtemp(prefix="maestro-upgrade-", dir="/tmp"))
    folder.chmod(0o711)
    laid = lay_places(folder / "s", unprivileged_account(os.environ))
    try:
        yield laid
    finally:
        take_down(laid, lambda _: None)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def old_version(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldVersion]:
    """The version before this one."""
    with unpacked(previous_version(), tmp_path_factory.mktemp("old")) as version:
        yield version


@pytest.fixture(scope="module")
def before(old_version: OldVersion, places: Places) -> Ending:
    """What came of traffic on the old version, under which the schema of this one is laid and metering starts anew."""
    old_version.maestro(places, "up")
    stack = _stack(places)

    def lay_schema(_scene: Scene, _cast: Cast) -> None:
        asyncio.run(_migrate(places))

    def start_anew(_scene: Scene, _cast: Cast) -> None:
        stack.kill("metering")
        stack.kill("invoicing")

    return perform(stack, steady(0.15), Play(during={0.3: lay_schema, 0.5: start_anew}))


@pytest.fixture(scope="module")
def after(before: Ending, old_version: OldVersion, places: Places) -> Ending:
    """What came of traffic on this version, which took over the state of the old one."""
    assert before.ledger.rows
    old_version.maestro(places, "down")
    status = bring_up(places, {**os.environ, "MAESTRO_STATE_DIR": str(places.home)}, lambda _: None)
    assert status.is_ready()
    return perform(_stack(places), steady(0.1), Play(during={}))


def _stack(places: Places) -> WholeStack:
    status = live_status(places)
    assert status is not None
    return WholeStack(places, stack_of(places, status), places.home, {})


async def _migrate(places: Places) -> None:
    """Lay this version's schema in every service's database, as its first process would."""
    for service in SERVICES:
        own = import_module(f"services.{service.name}.store").MIGRATIONS
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MAESTRO_STATE_DIR", str(places.home))
            settings = settings_of(service.name)
        async with await open_pool(settings, Role.OWNER, name=service.name, max_size=1) as owner:
            await migrate(owner, [BUS_MIGRATIONS, STORE_MIGRATIONS, own])


def test_no_migration_of_the_version_before_has_changed(old_version: OldVersion) -> None:
    before = {path.relative_to(old_version.folder): path.read_bytes() for path in old_version.migrations()}

    assert len(before) > 20
    assert {path: (CHECKOUT / path).read_bytes() for path in before if (CHECKOUT / path).is_file()} == before


def test_the_old_version_serves_and_starts_on_the_new_schema(before: Ending) -> None:
    assert before.counted["failed"] == 0, before.counted["failures"]
    assert [str(difference) for difference in before.ledger.differences] == []
    assert before.ledger.balances


def test_the_new_version_goes_on_with_the_state_of_the_old(after: Ending) -> None:
    assert [str(difference) for difference in after.ledger.differences] == []
    assert after.ledger.balances


def test_what_the_old_version_invoiced_stands_as_it_was(before: Ending, after: Ending, places: Places) -> None:
    status = live_status(places)
    assert status is not None
    assert after.ledger.balances
    reader = Maestro(stack_of(places, status))
    for invoice in before.invoices:
        reader.download(invoice.tenant, invoice.invoice_id, places.home / "again" / invoice.number)
    reader.close()

    again = {path.name: _files(path) for path in (places.home / "again").iterdir()}
    assert again == {invoice.number: _files(invoice.folder) for invoice in before.invoices}


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
