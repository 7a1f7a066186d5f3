"""`python -m tools.old_graphs FOLDER`: which graphs in a folder are valid on a server without the old pack.

Each is opened in the real front end and validated by the real server as it is, and as `python -m ipadapter.migrate`
makes it. Nodes of other packs are taken as given, files are taken to be there, and graphs without a node of the old
pack are left out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Page

from ipadapter.commands.migrate.files import read_source
from ipadapter.errors import IPAdapterError
from ipadapter.legacy.migration.documents import migration_of
from tools.browser import chromium, open_front_end, write_user_settings
from tools.server import Server, Settings, running

from .asking import Verdict, fetch_json, inner_graph, judge, prompt_of
from .prompts import Described, is_old

VALIDATOR = Path(__file__).with_name("validator")
Way = Callable[[dict[str, Any]], Mapping[str, Any]]


def migrated(graph: dict[str, Any]) -> Mapping[str, Any]:
    """A graph as the command makes it."""
    migrate = migration_of(graph)
    return graph if migrate is None else migrate(graph)[0]


WAYS: dict[str, Way] = {"as it is": lambda graph: graph, "by the command": migrated}


def is_of_the_old_pack(path: Path) -> bool:
    """Whether a file is to be counted: one that cannot be read is."""
    try:
        return is_old(inner_graph(read_source(path).graph))
    except IPAdapterError:
        return True


def try_graph(page: Page, server: Server, described: Described, path: Path, way: Way) -> Verdict:
    """One file, one way."""
    try:
        prompt = prompt_of(page, way(read_source(path).graph))
        return judge(server.url, prompt, described)
    except IPAdapterError as error:
        return Verdict((str(error).replace(str(path), path.name),), ())
    except (AttributeError, Error, IndexError, KeyError, TypeError, ValueError) as error:
        return Verdict((f"cannot be opened: {type(error).__name__}",), ())


def summary(way: str, verdicts: Mapping[str, Verdict]) -> str:
    """One way in figures, and how often there was which reason."""
    valid = [one for one in verdicts.values() if one.is_valid]
    alone = sum(not one.foreign for one in valid)
    head = f"{way}: {len(valid)} of {len(verdicts)} valid, {alone} of them without any other pack"
    reasons = Counter(reason for one in verdicts.values() for reason in one.reasons)
    return "\n".join([head, *(f"  {count} × {reason}" for reason, count in reasons.most_common())])


def main() -> None:
    parser = argparse.ArgumentParser("python -m tools.old_graphs", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".json", ".png"))
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(Path(directory), custom_nodes={"validator": VALIDATOR}, patience=600)
        write_user_settings(settings)
        with running(settings) as server, chromium() as browser:
            page = open_front_end(browser, server.url)
            described = fetch_json(f"{server.url}/object_info")
            for name, way in WAYS.items():
                verdicts = {}
                for path in filter(is_of_the_old_pack, files):
                    verdicts[path.name] = verdict = try_graph(page, server, described, path, way)
                    print(f"{path.name}: {'; '.join(verdict.reasons) or 'valid'}", flush=True)
                print(summary(name, verdicts), flush=True)


if __name__ == "__main__":
    main()
