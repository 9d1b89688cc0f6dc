"""The `maestro` command. Each verb imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from deploy.local.errors import StackError
from deploy.local.services import SERVICES

CHECKOUT = Path(__file__).resolve().parents[2]  # not from places: its imports come only with a verb
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

EXAMPLES = """Examples:

maestro up                       start all, wait until it answers

maestro demo                     run the whole path, see the tables

maestro status --json            addresses and readiness for scripts

maestro logs metering --follow   watch one service

maestro verify FOLDER            check an invoice's files, offline

maestro restart metering         drain one service and start it again

maestro down                     stop all
"""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

app = typer.Typer(
    name="maestro",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # drawn help costs a fifth of a second
    pretty_exceptions_enable=False,
    help="Maestro on this machine: the embedded stack, the demo, offline proof.",
    epilog=EXAMPLES,
)


@app.command(epilog="Example: MAESTRO_KAFKA_BOOTSTRAP=broker.internal:9092 maestro up")
def up() -> None:
    """Start the stack; wait until all of it answers.

    Safe to repeat: what runs already is left alone, what failed is tried again.

    Settings: MAESTRO_STATE_DIR moves the state folder. MAESTRO_POSTGRES_URL, MAESTRO_REDIS_URL and
    MAESTRO_KAFKA_BOOTSTRAP put a server of yours in place of an embedded one. Their passwords come by
    file: MAESTRO_POSTGRES_PASSWORD_FILE, MAESTRO_REDIS_PASSWORD_FILE, MAESTRO_KAFKA_PASSWORD_FILE.
    """
    raise typer.Exit(import_module("deploy.local.verbs").up())


@app.command(epilog="Example: maestro down && maestro up")
def down() -> None:
    """Stop the stack; no process is left.

    Parts stop in reverse order. The state stays. Safe to repeat.
    """
    raise typer.Exit(import_module("deploy.local.verbs").down())


@app.command(epilog="Examples: maestro restart    maestro restart metering quota")
def restart(
    parts: Annotated[list[str] | None, typer.Argument(help="Parts; every service without one.")] = None,
) -> None:
    """Restart parts one after the other.

    Each drains its requests first, and the next begins when it answers again. One that fails ends it.
    """
    raise typer.Exit(import_module("deploy.local.verbs").restart(parts or []))


@app.command(epilog="Example: maestro status --json | python -m json.tool")
def status(as_json: AsJson = False) -> None:
    """Show what runs, where, since when, and how the services fare.

    Per service: records not handled and how old the oldest is, watermark, outbox, dead letters, denied requests, as
    Prometheus sees them. A service that does not answer says so, and delays nothing.

    Exits with 0 if every part is ready, else with 3.
    """
    raise typer.Exit(import_module("deploy.local.looking").status(as_json=as_json))


@app.command(epilog="Examples: maestro logs metering --follow    maestro logs kafka --lines 100")
def logs(
    part: Annotated[str, typer.Argument(help="A part, as `maestro status` names it; all without one.")] = "",
    lines: Annotated[int, typer.Option(min=0, max=100_000, help="How many of the last lines.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show the last log lines of a part, or all."""
    raise typer.Exit(import_module("deploy.local.looking").logs(part, lines, follow=follow))


@app.command(epilog="Example: maestro doctor --json")
def doctor(as_json: AsJson = False) -> None:
    """Check every prerequisite and name the fixes.

    Exits with 1 if something is missing.
    """
    raise typer.Exit(import_module("deploy.local.doctor").doctor(as_json=as_json))


@app.command(context_settings=PASS_ON, epilog="Example: maestro demo")
def demo(context: typer.Context) -> None:
    """Run Hello-Tenant from request to invoice.

    Requests become metered usage, a quota answer, signed invoices, a proof and a ledger that balances.
    """
    raise typer.Exit(import_module("samples.hello_tenant.run").main(context.args))


@app.command(
    epilog="Example: maestro verify .maestro/demo/invoices/INV-1 --key .maestro/trust/evidence.pub.pem  (0: verified)"
)
def verify(
    folder: Annotated[Path, typer.Argument(help="Holds manifest.json, its bundle and the files listed in it.")],
    key: Annotated[Path | None, typer.Option(help="PEM of the public key to trust; by default this stack's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a signed folder, offline.

    Needs nothing but the folder and a public key; opens no socket.
    """
    if key is None:
        key = import_module("deploy.local.places").state_folder(os.environ) / "trust" / "evidence.pub.pem"
    raise typer.Exit(import_module("services.evidence.cli").verify(folder, key, as_json))


def _mount(name: str, module: str, about: str) -> None:
    """Add the verbs of another room as `maestro <name> ...`; its module is imported when one is called."""

    @app.command(name, context_settings=PASS_ON, help=about)
    def run(context: typer.Context) -> None:
        raise typer.Exit(import_module(module).main(context.args))


@app.command(context_settings=PASS_ON, help="Verbs of the bus, such as reset-offset.")
def bus(context: typer.Context) -> None:
    """Reach the store and the broker of the service that the verb names."""
    settings_of = import_module("deploy.local.operating").settings_of
    raise typer.Exit(import_module("libs.bus.cli").main(context.args, settings_of))


@app.command(context_settings=PASS_ON, help="Dead letters: list, show, replay, drop.")
def dlq(context: typer.Context) -> None:
    """Reach the registers of the services and, with the operator's access, the broker."""
    settings_of = import_module("deploy.local.operating").settings_of
    raise typer.Exit(import_module("libs.bus.deadletters.cli").main(context.args, settings_of))


@app.command(context_settings=PASS_ON, help="Usage: recompute totals from the raw events; void or amend an event.")
def usage(context: typer.Context) -> None:
    """Reach metering's store and archive and, with the operator's access, the broker."""
    settings_of = import_module("deploy.local.operating").settings_of
    raise typer.Exit(import_module("services.metering.cli").main(context.args, settings_of))


UNDER_NAMES_OF_THEIR_OWN = {"metering"}  # `maestro usage`


def _mount_all() -> None:
    for service in SERVICES:
        if service.name not in UNDER_NAMES_OF_THEIR_OWN and (CHECKOUT / "services" / service.name / "cli.py").exists():
            _mount(service.name, f"services.{service.name}.cli", f"Verbs of {service.name}: {service.owns}.")


_mount_all()


def main(arguments: list[str] | None = None) -> None:
    """Run the command with `arguments`, else those of the process, and exit.

    A problem that people can act on is shown as one, with what to try, and without a traceback.
    """
    try:
        app(args=arguments, prog_name="maestro")
    except StackError as problem:
        printable = import_module("libs.runtime.printable").printable
        lines = [*problem.message.splitlines(), *([f"try: {problem.fix}"] if problem.fix else [])]
        sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
        sys.exit(1)
