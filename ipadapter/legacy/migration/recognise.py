"""Which node of which pack and version a node of a graph is, by its inputs: some ids have had several forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .first_nodes import EARLIEST_APPLY, EARLIEST_ENCODE, LAKSJDJF_IPADAPTER
from .first_rules import FIRST_RULES
from .forms import WITHOUT_TYPE, Form, Socket
from .rules import MIGRATION_RULES, MigrationRule

TOO_EARLY = (
    "is of the first weeks of the old pack's first version (September 2023) and is left as it is: build its part anew "
    "with Load IP-Adapter, Encode Image Prompt and Apply IP-Adapter."
)


@dataclass(frozen=True)
class Kept:
    """A node that is left as it is, whose it is, and why: a sentence without its beginning, or nothing for another
    pack's of which nobody need be told."""

    legacy_form: Form
    whose: str
    why: str = ""


Recognised = MigrationRule | Kept


def forms_by_id() -> Mapping[str, tuple[Recognised, ...]]:
    """By id, the latest form first."""
    early = (Kept(form, "September 2023", TOO_EARLY) for form in (EARLIEST_APPLY, EARLIEST_ENCODE))
    kept = (*early, Kept(LAKSJDJF_IPADAPTER, "laksjdjf/IPAdapter-ComfyUI"))
    found: dict[str, tuple[Recognised, ...]] = defaultdict(tuple)
    known: tuple[Recognised, ...] = (*MIGRATION_RULES.values(), *FIRST_RULES, *kept)
    for one in known:
        found[one.legacy_form.id] += (one,)
    return dict(found)


CANDIDATES = forms_by_id()
OURS = frozenset(rule.new for rule in (*MIGRATION_RULES.values(), *FIRST_RULES))


@dataclass(frozen=True)
class Shape:
    """What of a node tells its form: names of the inputs that it shows, and how many values it has by place."""

    names: Collection[str]
    values: int = 0

    def unknown(self, form: Form) -> set[str]:
        """Inputs that a form does not have."""
        return set(self.names) - set(form.inputs)

    def lacking(self, form: Form) -> frozenset[str]:
        """Sockets that a form must have and the node does not show."""
        return form.required - set(self.names)

    def distance(self, form: Form) -> int:
        """How far it is from a form."""
        more = max(0, self.values - len(form.widget_slots))
        lacking = self.lacking(form) if self.names else ()
        return len(self.unknown(form)) + len(lacking) + more


def recognise(kind: str, shape: Shape) -> Recognised | None:
    """The nearest form of an id, or None for an id that was never the old pack's."""
    known = CANDIDATES.get(kind)
    if known is None:
        return None
    nearest = min(known, key=lambda one: shape.distance(one.legacy_form))
    unknown = shape.unknown(nearest.legacy_form)
    if unknown and shape.lacking(nearest.legacy_form):
        names = sorted(unknown)
        form = Form(kind, tuple(Socket(name, WITHOUT_TYPE) for name in names))
        return Kept(
            form, "another pack", f"has inputs that no node of ComfyUI_IPAdapter_plus has ({', '.join(names)})."
        )
    return nearest
