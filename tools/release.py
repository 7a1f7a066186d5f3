"""`make release PUBLISHER=… REPOSITORY=… [VERSION=…]`: all that a release is to have in its files, written and checked.

The publisher's id and address are known to whoever publishes, and to nobody else. Everything that names them is written
anew, as often as one likes; a version is written where one is named, with today's date in the changelog. Then version,
changelog and what the registry says are looked at. What is left to do by hand is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tools.environment import LAYOUT

OFFLINE = {"DO_NOT_TRACK": "1", "COMFY_CLI_NO_REMOTE_REFRESH": "1"}
PUBLISHER = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}", re.IGNORECASE)
REPOSITORY = re.compile(r"(https://github\.com/([\w.-]+)/([\w.-]+?))(?:\.git)?/?")
VERSION = re.compile(r"\d+\.\d+\.\d+")
HEADING = re.compile(r"^## \[(\d+\.\d+\.\d+)\](?: - (.*))?$", re.MULTILINE)
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
UNRELEASED = "## [Unreleased]\n"
HUB, RAW = r"https://github\.com/[\w.-]+/[\w.-]+", r"https://raw\.githubusercontent\.com/[\w.-]+/[\w.-]+"


class ReleaseError(Exception):
    """Something is not as a release has it; the message says what."""


@dataclass(frozen=True)
class Owner:
    """Who publishes, and where from: an address such as https://github.com/somebody/image-prompt-adapter."""

    publisher: str
    repository: str

    @property
    def author(self) -> str:
        """Whose the repository is."""
        return self.repository.split("/")[3]

    @property
    def raw(self) -> str:
        """Where single files of the repository are had."""
        return self.repository.replace("https://github.com", "https://raw.githubusercontent.com")


@dataclass(frozen=True)
class Place:
    """A file that names the owner, and what there is replaced by what."""

    file: str
    pattern: str
    made: str  # with {publisher}, {repository}, {raw} and {author}

    def fill(self, owner: Owner) -> str:
        """What belongs there."""
        about = {"publisher": owner.publisher, "repository": owner.repository, "raw": owner.raw, "author": owner.author}
        return self.made.format(**about)


ISSUES = ".github/ISSUE_TEMPLATE"
CLONE = r"git clone (?:<[^>\n]+>|https://\S+) image-prompt-adapter"
PLACES = (
    Place("pyproject.toml", r'^PublisherId = ".*"$', 'PublisherId = "{publisher}"'),
    Place("pyproject.toml", r'^Repository = ".*"$', 'Repository = "{repository}"'),
    Place("pyproject.toml", rf'^(Icon|Banner) = "{RAW}/', r'\g<1> = "{raw}/'),
    Place("README.md", CLONE, "git clone {repository} image-prompt-adapter"),
    Place("README.zh.md", CLONE, "git clone {repository} image-prompt-adapter"),
    Place("docs/publishing.md", rf'^(    "reference": "|    "files": \["){HUB}"', r'\g<1>{repository}"'),
    Place("docs/publishing.md", r'^    "author": ".*",$', '    "author": "{author}",'),
    Place(f"{ISSUES}/config.yml", rf"^(    url: ){HUB}/", r"\g<1>{repository}/"),
    Place(f"{ISSUES}/fault.yml", rf"\({HUB}/blob/", "({repository}/blob/"),
)


def read_owner(publisher: str, repository: str) -> Owner:
    """Raises ReleaseError where one of them cannot be what it is to be."""
    if not PUBLISHER.fullmatch(publisher):
        raise ReleaseError(
            f"PUBLISHER is '{publisher}', where the id is meant that the Comfy registry gave the publisher: letters, "
            "digits, - and _, such as PUBLISHER=somebody."
        )
    if not (found := REPOSITORY.fullmatch(repository)):
        raise ReleaseError(
            f"REPOSITORY is '{repository}', where an address on GitHub is meant, such as "
            "REPOSITORY=https://github.com/somebody/image-prompt-adapter."
        )
    return Owner(publisher, found[1])


def write_owner(root: Path, owner: Owner) -> list[str]:
    """Write an owner into a checkout; the files that are other than before. Raises ReleaseError before any is written.

    A place that is not there any more is an error, so that none is forgotten when a page is written anew.
    """
    texts = {file: (root / file).read_text(encoding="utf-8") for file in dict.fromkeys(place.file for place in PLACES)}
    made = dict(texts)
    for place in PLACES:
        made[place.file], count = re.subn(place.pattern, place.fill(owner), made[place.file], flags=re.MULTILINE)
        if not count:
            raise ReleaseError(
                f"{place.file} has no place for '{place.fill(owner)}': look at PLACES in tools/release.py."
            )
    changed = [file for file, text in made.items() if text != texts[file]]
    for file in changed:
        (root / file).write_text(made[file], encoding="utf-8", newline="\n")
    return changed


def setting(root: Path, name: str) -> str:
    """A text of pyproject.toml."""
    found = re.search(rf'^{name} = "(.*)"$', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise ReleaseError(f"pyproject.toml has no {name}.")
    return found[1]


def write_version(root: Path, version: str, day: date) -> list[str]:
    """Write a version into both files that have it, and what is unreleased under its name. Raises ReleaseError."""
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not VERSION.fullmatch(version):
        raise ReleaseError(f"VERSION is '{version}', where three numbers are meant, such as VERSION=0.2.0.")
    if UNRELEASED not in changelog or f"## [{version}]" in changelog:
        raise ReleaseError(f"CHANGELOG.md is to have a section [Unreleased] and none of [{version}] yet.")
    known = (root / "pyproject.toml").read_text(encoding="utf-8")
    made = {
        "pyproject.toml": re.sub(r'^version = ".*"$', f'version = "{version}"', known, flags=re.MULTILINE),
        "ipadapter/version.py": VERSION_FILE.format(version=version),
        "CHANGELOG.md": changelog.replace(UNRELEASED, f"{UNRELEASED}\n## [{version}] - {day.isoformat()}\n", 1),
    }
    for file, text in made.items():
        (root / file).write_text(text, encoding="utf-8", newline="\n")
    return [*made]


VERSION_FILE = '''"""The pack's version, as pyproject.toml has it."""

VERSION = "{version}"
'''


def version_faults(root: Path) -> Iterator[str]:
    """What of version and changelog is not by rule: one version in both files, and it the newest dated section, with
    nothing left above it."""
    version, changelog = setting(root, "version"), (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if f'VERSION = "{version}"' not in (root / "ipadapter" / "version.py").read_text(encoding="utf-8"):
        yield f"ipadapter/version.py has another version than pyproject.toml, which has {version}."
    newest = HEADING.search(changelog)
    if newest is None or newest[1] != version:
        yield f"The newest section of CHANGELOG.md is {newest[1] if newest else 'none'}, and the version is {version}."
    elif not DATE.fullmatch(newest[2] or ""):
        yield f"CHANGELOG.md has no date beside [{version}]: write ## [{version}] - YYYY-MM-DD."
    elif entries := re.findall(r"^- .*$", changelog[: newest.start()], re.MULTILINE):
        yield f"CHANGELOG.md has {len(entries)} line(s) above [{version}] that belong to no version."


def registry_faults(root: Path) -> Iterator[str]:
    """What the registry's own validation says; it ends well whatever it has found."""
    answer = comfy(root, "node", "validate")
    said = answer.stdout + answer.stderr
    if answer.returncode or "All validation checks passed" not in said or "warning" in said.lower():
        yield f"comfy node validate: {said.strip()}"


def comfy(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """comfy-cli's answer, without a network."""
    command, variables = [sys.executable, "-m", "comfy_cli", "--skip-prompt", *arguments], {**os.environ, **OFFLINE}
    return subprocess.run(
        command, cwd=root, env=variables, capture_output=True, text=True, timeout=300, check=False, encoding="utf-8"
    )


def manager_entry(root: Path) -> dict[str, object]:
    """The pack's row for ComfyUI-Manager's list, which whoever publishes may propose there."""
    repository = setting(root, "Repository")
    return {
        "author": Owner("", repository).author,
        "title": setting(root, "DisplayName"),
        "id": setting(root, "name"),
        "reference": repository,
        "files": [repository],
        "install_type": "git-clone",
        "description": setting(root, "description"),
    }


LEFT = """
Left to do by hand (docs/publishing.md):
  1. Look at the changes, commit them, and wait for the workflow `tests`.
  2. Once: the secret REGISTRY_ACCESS_TOKEN in the environment `registry` of {repository}.
  3. git tag v{version} && git push origin v{version}
For ComfyUI-Manager's own list, where somebody wants it there too:
{entry}"""


def main(arguments: Sequence[str] | None = None, root: Path = LAYOUT.root) -> int:
    """Write, check and tell. 1 where something is left that a release does not have."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description="Make the checkout ready to publish.")
    parser.add_argument("--publisher", required=True, help="id that the Comfy registry gave the publisher")
    parser.add_argument("--repository", required=True, help="address of the repository on GitHub")
    parser.add_argument("--version", help="the version that begins now; without, files keep theirs")
    chosen = parser.parse_args(arguments)
    try:
        owner = read_owner(chosen.publisher, chosen.repository)
        changed = write_owner(root, owner)
        changed += write_version(root, chosen.version, date.today()) if chosen.version else []
        faults = [*version_faults(root), *registry_faults(root)]
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(f"wrote {file}" for file in changed) or "nothing to write: it was so already")
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    entry = json.dumps(manager_entry(root), indent=4, ensure_ascii=False)
    print(LEFT.format(repository=owner.repository, version=setting(root, "version"), entry=entry))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
