"""The class path of Kafka: exactly the jars of the committed lock file, each checked before Java sees it.

`jgo.lock.toml` is jgo's own lock format: group, artifact, version and SHA-256 of every jar, and no address. jgo's
resolver fetches a jar by its coordinates; what arrives counts only if its digest is the locked one. Where jgo builds an
environment it lays the jars out in two folders, `jars` and `modules`, and a class path of one of them is half a Kafka;
here all lie in one folder, and the class path names each file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import Missing, PartFailed
from deploy.local.places import CHECKOUT

JAR_FOLDER = CHECKOUT / ".tools" / "kafka"
LOCK = Path(__file__).with_name("jgo.lock.toml")
FETCHERS = 8  # the wait is the network's: 45 files come about five times faster than one by one
FETCH_TIMEOUT_S = 30
PAUSES_S = (1.0, 3.0)  # between tries: a mirror that hiccups is back by then, one that is away is named soon
REASON_CHARACTERS_MAX = 300

ARRIVALS = "arrivals"  # where jars lie until their digest is checked

Progress = Callable[[int, int], None]
Download = Callable[["Jar", Path], Path]


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked jar: its Maven coordinates and the SHA-256 hex digest of its bytes."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The file's name in a Maven repository and on our class path."""
        return f"{self.artifact}-{self.version}.jar"

    def under(self, repository: Path) -> Path:
        """Where a Maven repository keeps it."""
        return repository.joinpath(*self.group.split("."), self.artifact, self.version, self.file_name)

    def is_in(self, path: Path) -> bool:
        """Whether `path` holds exactly the locked bytes."""
        return path.is_file() and digest_of(path) == self.sha256


def locked_jars(lock: Path = LOCK) -> tuple[Jar, ...]:
    """Every jar of the lock file, in its order, which is the order of the class path.

    Raises:
        PartFailed: an entry has no digest.
    """
    entries = tomllib.loads(lock.read_text())["dependencies"]
    bare = [entry["artifactId"] for entry in entries if not entry.get("sha256")]
    if bare:
        raise PartFailed(f"{lock} has no digest for {', '.join(bare)}", fix="python -m deploy.local.kafka.lock")
    return tuple(Jar(e["groupId"], e["artifactId"], e["version"], e["sha256"]) for e in entries)


def digest_of(path: Path) -> str:
    """SHA-256 hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wrong_jars(folder: Path, jars: tuple[Jar, ...]) -> list[Jar]:
    """The jars that `folder` lacks or holds with other bytes than locked."""
    return [jar for jar in jars if not jar.is_in(folder / jar.file_name)]


def download(jar: Jar, repository: Path) -> Path:
    """Fetch a jar by its coordinates with jgo's resolver; its path in `repository`.

    Raises:
        Missing: it could not be had after several tries.
    """
    from jgo.maven import MavenContext  # noqa: PLC0415 - half a second of imports, needed only on a cold machine

    _trust_as_the_machine_does()
    context = MavenContext(repo_cache=repository, timeout=FETCH_TIMEOUT_S)
    artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    for pause_s in (*PAUSES_S, None):
        jar.under(repository).unlink(missing_ok=True)  # what a broken connection left of it
        try:
            return Path(artifact.resolve())
        except (OSError, RuntimeError) as problem:
            if pause_s is None:
                raise Missing(
                    f"{jar.file_name} could not be fetched: {str(problem)[:REASON_CHARACTERS_MAX]}",
                    fix="check the network, then maestro up; or set MAESTRO_KAFKA_BOOTSTRAP to a Kafka of your own",
                ) from problem
            time.sleep(pause_s)
    raise AssertionError("the last turn returns or raises")


def _trust_as_the_machine_does() -> None:
    """Let jgo's HTTP client trust the machine's certificate authorities, as pip does, not only its own."""
    authorities = ssl.get_default_verify_paths()
    folder = Path(authorities.capath) if authorities.capath else None
    known = authorities.cafile or (str(folder) if folder and any(folder.glob("*.0")) else None)
    if known and "CURL_CA_BUNDLE" not in os.environ:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", known)


def fetch(
    folder: Path,
    jars: tuple[Jar, ...],
    progress: Progress = lambda _done, _all: None,
    download: Download = download,
) -> None:
    """Bring every jar that is missing or wrong into `folder`; `progress(done, all)` after each one.

    Raises:
        Missing: a jar could not be had.
        PartFailed: what arrived has another digest than the locked one.
    """
    wanted = wrong_jars(folder, jars)
    if not wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=FETCHERS) as pool:
        arrivals = [pool.submit(_bring, jar, folder, download) for jar in wanted]
        try:
            for count, arrival in enumerate(as_completed(arrivals), start=1):
                arrival.result()
                progress(count, len(wanted))
        finally:
            pool.shutdown(cancel_futures=True)
    shutil.rmtree(folder / ARRIVALS, ignore_errors=True)  # each is on the class path now


def _bring(jar: Jar, folder: Path, download: Download) -> None:
    """One jar into the folder, from this machine's Maven repository if the same bytes lie there, else from afar."""
    local = jar.under(local_repository())
    source = local if jar.is_in(local) else download(jar, folder / ARRIVALS)
    if not jar.is_in(source):
        found = digest_of(source)
        source.unlink()
        raise PartFailed(
            f"{jar.file_name} arrived with SHA-256 {found}, locked is {jar.sha256}: it was not used",
            fix="check the network's Maven mirror, then run maestro up again",
        )
    draft = folder / f".{jar.file_name}.{os.getpid()}"
    shutil.copyfile(source, draft)
    draft.replace(folder / jar.file_name)


def local_repository() -> Path:
    """This machine's own Maven repository, read only: `M2_REPO`, else `~/.m2/repository`."""
    named = os.environ.get("M2_REPO")
    return Path(named) if named else Path.home() / ".m2" / "repository"
