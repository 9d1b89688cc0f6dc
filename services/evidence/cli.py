"""`maestro verify`: check a signed folder with nothing but the folder and a public key.

Opens no socket, starts no process and needs no server. It imports the standard library and `libs.signing` only, also
because a verb that is typed often must answer at once.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import IntEnum
from pathlib import Path

from libs.signing.errors import SigningError, TooLarge
from libs.signing.folder import Finding, FolderReport, Status, verify_folder
from libs.signing.keys import PublicKey

# Where the embedded stack publishes the key: in the checkout, never in the working directory, which may be the very
# folder whose sender we do not trust.
DEFAULT_KEY = Path(__file__).resolve().parents[2] / ".maestro" / "trust" / "evidence.pub.pem"


class Exit(IntEnum):
    """What the process answers; only `VERIFIED` is good."""

    VERIFIED = 0
    FAILED = 1
    UNREADABLE = 2  # wrong usage, no such folder, no usable key: nothing was decided
    TOO_LARGE = 3  # past a bound that protects the verifier: nothing was decided


def verify(folder: Path, key: Path | None, as_json: bool) -> int:
    """Check `folder` against the public key in the PEM file `key`, print the verdicts, return the exit status."""
    key_path = key or DEFAULT_KEY
    try:
        trusted = PublicKey.load(key_path)
        report = verify_folder(folder, [trusted])
    except TooLarge as error:
        return _give_up(str(error), error.code, Exit.TOO_LARGE, as_json=as_json)
    except SigningError as error:
        return _give_up(str(error), error.code, Exit.UNREADABLE, as_json=as_json)
    except OSError as error:
        return _give_up(_explained(error, key_path), "unreadable", Exit.UNREADABLE, as_json=as_json)
    print(_as_json(folder, trusted, report) if as_json else _as_text(folder, trusted, report))
    return Exit.VERIFIED if report.is_verified else Exit.FAILED


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m services.evidence.cli verify FOLDER [--key PEM] [--json]`."""
    parser = argparse.ArgumentParser(prog="maestro")
    verbs = parser.add_subparsers(required=True, metavar="verify")
    verb = verbs.add_parser("verify", help="check a signed folder offline")
    verb.add_argument("folder", type=Path, help="holds manifest.json, its bundle and the files listed in it")
    verb.add_argument("--key", type=Path, metavar="PEM", help=f"the public key to trust (default: {DEFAULT_KEY})")
    verb.add_argument("--json", action="store_true", dest="as_json", help="print the verdicts for a program")
    chosen = parser.parse_args(arguments)
    return verify(chosen.folder, chosen.key, chosen.as_json)


def _give_up(why: str, code: str, status: Exit, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"verified": False, "error": {"code": code, "detail": why}}))
    print(f"maestro verify: not checked: {_plain(why)}", file=sys.stderr)
    return status


def _explained(error: OSError, key_path: Path) -> str:
    why = f"{error.filename}: {error.strerror}"
    if error.filename == str(key_path):
        why += "; name the signer's public key with --key PEM"
    return why


def _as_json(folder: Path, trusted: PublicKey, report: FolderReport) -> str:
    return json.dumps(
        {
            "verified": report.is_verified,
            "folder": str(folder),
            "key_fingerprint": trusted.fingerprint,
            "subject": asdict(report.manifest.subject) if report.manifest else None,
            "files": [
                {"name": finding.name, "verdict": finding.status.value, "detail": finding.detail}
                for finding in report.findings
            ],
        },
        indent=2,
    )


def _as_text(folder: Path, trusted: PublicKey, report: FolderReport) -> str:
    lines = [f"folder   {_plain(str(folder))}", f"key      SHA-256 {trusted.fingerprint}"]
    if report.manifest:
        subject = report.manifest.subject
        about = f"{subject.kind} {subject.number} of {subject.tenant_id}, period {subject.period}"
        lines.append(f"subject  {_plain(about)}")
    return "\n".join([*lines, "", *_table(report.findings), "", _verdict(report)])


def _table(findings: Sequence[Finding]) -> list[str]:
    rows = [("file", "verdict", "why"), *((_plain(one.name), _shown(one), _plain(one.detail)) for one in findings)]
    name_width = max(len(name) for name, _, _ in rows)
    status_width = max(len(status) for _, status, _ in rows)
    return [f"  {name:{name_width}}  {status:{status_width}}  {why}" for name, status, why in rows]


def _shown(finding: Finding) -> str:
    """Failures stand out without colour."""
    return finding.status.value if finding.status is Status.VERIFIED else finding.status.value.upper()


def _verdict(report: FolderReport) -> str:
    if report.is_verified:
        return f"VERIFIED: {len(report.findings)} files, nothing missing, extra or changed"
    wrong = [f"{_plain(one.name)} ({one.status.value})" for one in report.findings if one.status is not Status.VERIFIED]
    return f"FAILED: {', '.join(wrong)}"


def _plain(text: str) -> str:
    """`text` with all escaped that could move a cursor or look like something else: names come from strangers."""
    return "".join(char if char.isascii() and char.isprintable() else ascii(char)[1:-1] for char in text)


if __name__ == "__main__":
    sys.exit(main())
