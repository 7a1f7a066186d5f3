"""Writes tests/schema/object_info.json and locales/en/nodeDefs.json anew from the nodes.

    .venv/bin/python -m tests.schema.renew

To be run after a node was changed on purpose; what git shows then is the change that users will see.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.comfyui import start_host
from tests.schema.texts import GOLDEN, ROOT, Json, english, load_pack, object_info


def write(path: Path, content: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}")


def main() -> int:
    start_host()
    taken, classes = load_pack()
    if not taken:
        print("error: the host did not take the pack; its own message is above.", file=sys.stderr)
        return 1
    info = object_info(classes)
    write(GOLDEN, info)
    write(ROOT / "locales" / "en" / "nodeDefs.json", english(info))
    return 0


if __name__ == "__main__":
    sys.exit(main())
