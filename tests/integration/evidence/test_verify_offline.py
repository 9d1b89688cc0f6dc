"""The verb as a process: without a network, without a socket, and fast enough to be typed often."""

import resource
import sys
from pathlib import Path

import pytest

from libs.signing.keys import PublicKey, SigningKey
from tests.support.signed_folders import SignedFolder, make_signed_folder, run, verify_command, without_network

COLD_START_S = 0.3
# The hook sees every socket that Python makes, in any module, and lets none pass.
NO_SOCKETS = """
import sys
def refuse(event, arguments):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.exec", "os.fork", "os.posix_spawn"):
        raise SystemExit(f"the verifier did {event}{arguments}")
sys.addaudithook(refuse)
from services.evidence.cli import main
status = main(sys.argv[1:])
sys.exit("the verifier imported socket" if "_socket" in sys.modules else status)
"""


@pytest.fixture
def signed(tmp_path: Path) -> SignedFolder:
    return make_signed_folder(tmp_path, SigningKey.generate())


def test_a_folder_is_verified_in_an_empty_network_namespace(signed: SignedFolder) -> None:
    checked = run([*without_network(), *verify_command(signed)])

    assert (checked.returncode, checked.stderr) == (0, "")
    assert "VERIFIED: 3 files" in checked.stdout


def test_the_maestro_command_trusts_the_key_of_its_own_stack(
    signed: SignedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAESTRO_STATE_DIR", str(tmp_path / "state"))
    PublicKey.load(signed.key_file).save(tmp_path / "state" / "trust" / "evidence.pub.pem")

    checked = run([sys.executable, "-m", "deploy.local", "verify", str(signed.folder)])

    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_flipped_byte_fails_in_an_empty_network_namespace(signed: SignedFolder) -> None:
    content = bytearray((signed.folder / "invoice.json").read_bytes())
    content[-3] ^= 1
    (signed.folder / "invoice.json").write_bytes(content)

    checked = run([*without_network(), *verify_command(signed)])

    assert checked.returncode == 1
    assert "FAILED: invoice.json (changed)" in checked.stdout


def test_verifying_opens_no_socket_and_starts_no_process(signed: SignedFolder) -> None:
    arguments = verify_command(signed)[3:]

    checked = run([sys.executable, "-c", NO_SOCKETS, *arguments])

    assert (checked.returncode, checked.stderr) == (0, "")


def test_verifying_from_a_cold_start_takes_under_a_third_of_a_second(signed: SignedFolder) -> None:
    """Processor time, which equals the wall time of an idle machine, so that busy neighbours do not fail the test."""
    spent = [cpu_s_of(verify_command(signed)) for _ in range(5)]

    assert min(spent) < COLD_START_S


def cpu_s_of(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
