"""How much a torch file's pickle can cost, told before it is loaded.

torch's own reader loads nothing that runs code, but what it may load can be asked for without end: a tuple of the
same tuple twice, sixty times over, is hashed for ever; a list is copied at every call. A pickle is followed here step
by step with what stands on its stack, never with the objects.
"""

from __future__ import annotations

import io
import mmap
import pickletools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import IPAdapterError

MOST_STEPS = 300_000  # about 30 a tensor
LONGEST = 2**24  # bytes of one pickle of instructions
MOST_HASHED = 1000  # members of a tuple, and of those in it
LARGEST_NUMBER = 2**128  # the one that marks the old format has 77 bits
PROTOCOL = b"\x80"  # what a pickle begins with that torch reads
STREAMS = 5  # pickles at the beginning of a torch file of the old format
NO_ARGUMENTS = "()"  # arguments: none
ANY_ARGUMENTS = ""  # arguments, or anything else

STORAGE = re.compile(r"torch(\.cuda)? \w+Storage|torch\.storage (Untyped|Typed)Storage")
PLAIN = re.compile(r"torch \w+|torch\.serialization _get_layout")  # types of numbers, layouts, kinds of quantising
ANY_TIMES, FEW_TIMES = MOST_STEPS, 16
CALLS = {  # what may be called, with which arguments, how often
    "collections OrderedDict": (NO_ARGUMENTS, ANY_TIMES),
    "torch._utils _rebuild_tensor": (ANY_ARGUMENTS, ANY_TIMES),
    "torch._utils _rebuild_tensor_v2": (ANY_ARGUMENTS, ANY_TIMES),
    "torch._utils _rebuild_parameter": (ANY_ARGUMENTS, ANY_TIMES),
    "torch._utils _rebuild_meta_tensor_no_storage": (ANY_ARGUMENTS, ANY_TIMES),
    "torch._utils _rebuild_sparse_tensor": (ANY_ARGUMENTS, FEW_TIMES),
    "torch._utils _rebuild_qtensor": (ANY_ARGUMENTS, FEW_TIMES),
    "torch.serialization _get_layout": (ANY_ARGUMENTS, ANY_TIMES),
    "torch Size": (ANY_ARGUMENTS, FEW_TIMES),
    "torch device": (ANY_ARGUMENTS, FEW_TIMES),
}


class EndlessError(Exception):
    """The pickle asks for more than tensors need."""


class ForeignError(Exception):
    """The pickle asks for something that is no tensor."""


@dataclass(frozen=True)
class Item:
    """What is on the stack: the name of something global, or empty arguments, and how many things are hashed in it."""

    name: str = ANY_ARGUMENTS
    hashed: int = 1


@dataclass
class Follower:
    """The stack and the memory of a pickle while it is followed."""

    stack: list[Item] = field(default_factory=list)
    below: list[list[Item]] = field(default_factory=list)  # stacks under the marks
    memory: dict[int, Item] = field(default_factory=dict)
    called: Counter[str] = field(default_factory=Counter)

    def step(self, name: str, arg: Any) -> None:
        """One instruction. Raises KeyError and IndexError for what no pickle of torch's has."""
        if isinstance(arg, int) and abs(arg) >= LARGEST_NUMBER:
            raise EndlessError
        STEPS[name](self, arg)

    def push(self, arg: Any) -> None:
        """A number, a text, or something empty."""
        self.stack.append(Item())

    def push_name(self, name: str) -> None:
        """Something global."""
        if name not in CALLS and not STORAGE.fullmatch(name) and not PLAIN.fullmatch(name):
            raise ForeignError
        self.stack.append(Item(name))

    def mark(self, arg: Any) -> None:
        """A new stack on the old one."""
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Item]:
        """The stack above the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def fill(self, arg: Any) -> None:
        """Members of a list or dictionary, which stays."""
        self.pop_mark()
        self.stack[-1]

    def drop(self, count: int) -> list[Item]:
        """The topmost so many, the top first."""
        return [self.stack.pop() for _ in range(count)]

    def join(self, items: list[Item]) -> None:
        """A tuple."""
        hashed = 1 + sum(item.hashed for item in items)
        if hashed > MOST_HASHED:
            raise EndlessError
        self.stack.append(Item(ANY_ARGUMENTS if items else NO_ARGUMENTS, hashed))

    def call(self, arg: Any) -> None:
        """A function or a class with arguments."""
        args, function = self.drop(2)
        given, most = CALLS[function.name]
        self.called[function.name] += 1
        if self.called[function.name] > most or (given == NO_ARGUMENTS and args.name != NO_ARGUMENTS):
            raise EndlessError
        self.stack.append(Item(ANY_ARGUMENTS, args.hashed))

    def build(self, arg: Any) -> None:
        """Attributes of an object, which stays."""
        self.drop(1)
        self.called["build"] += 1
        if self.called["build"] > FEW_TIMES:
            raise EndlessError
        self.stack[-1]

    def store(self, index: int) -> None:
        """Remember the top."""
        self.memory[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        """Something remembered, once more."""
        self.stack.append(self.memory[index])


def nothing(follower: Follower, arg: Any) -> None:
    """Neither stack nor memory changes."""


STEPS: dict[str, Callable[[Follower, Any], object]] = {
    **dict.fromkeys(("PROTO", "STOP"), nothing),
    **dict.fromkeys(("NONE", "NEWFALSE", "NEWTRUE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"), Follower.push),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), Follower.push),
    "SHORT_BINSTRING": Follower.push,
    "GLOBAL": Follower.push_name,
    "MARK": Follower.mark,
    "EMPTY_TUPLE": lambda follower, arg: follower.join([]),
    "TUPLE": lambda follower, arg: follower.join(follower.pop_mark()),
    "TUPLE1": lambda follower, arg: follower.join(follower.drop(1)),
    "TUPLE2": lambda follower, arg: follower.join(follower.drop(2)),
    "TUPLE3": lambda follower, arg: follower.join(follower.drop(3)),
    "APPEND": lambda follower, arg: follower.drop(1),
    "APPENDS": Follower.fill,
    "SETITEM": lambda follower, arg: follower.drop(2),
    "SETITEMS": Follower.fill,
    "BINPERSID": lambda follower, arg: follower.push(follower.drop(1)),
    "REDUCE": Follower.call,
    "BUILD": Follower.build,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), Follower.store),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), Follower.recall),
}


def refuse_endless_pickle(content: bytes, name: str) -> None:
    """Raises IPAdapterError for a pickle that could cost more than its tensors, or asks for other things."""
    if len(content) > LONGEST:
        raise overfull(name)
    refuse(lambda: follow(pickletools.genops(io.BytesIO(content))), name)


def refuse_endless_pickles(path: Path, head: bytes, name: str) -> None:
    """The same for the pickles of a torch file of the old format."""
    if head[:1] != PROTOCOL:
        raise damaged(name)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        refuse(lambda: follow(step for _ in range(STREAMS) for step in pickletools.genops(content)), name)  # type: ignore[arg-type]


def follow(steps: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]) -> None:
    """Follow a pickle to its end."""
    follower = Follower()
    for count, (opcode, arg, _) in enumerate(steps):
        if count > MOST_STEPS:
            raise EndlessError
        follower.step(opcode.name, arg)


def refuse(attempt: Callable[[], None], name: str) -> None:
    """The sentence for what comes of following a pickle."""
    try:
        attempt()
    except ForeignError as error:
        raise runs_code(name) from error
    except EndlessError as error:
        raise IPAdapterError(
            f"'{name}' is a pickle of more than tensors need, as if built to take all of memory or time: use the "
            ".safetensors version, or another copy."
        ) from error
    except (ValueError, LookupError) as error:  # the bytes are no pickle, or none of torch's
        raise damaged(name) from error


class UnreadableError(IPAdapterError):
    """The refusal of a file that is damaged, or a pickle of more than tensors."""


def runs_code(name: str) -> UnreadableError:
    """The refusal of a pickle that asks for anything but tensors."""
    return UnreadableError(
        f"'{name}' is a pickle that asks to run code while it loads, so it was not opened: "
        "use the .safetensors version of it."
    )


def overfull(name: str) -> IPAdapterError:
    """The refusal of a file that would be built for minutes."""
    return IPAdapterError(f"'{name}' lists more tensors or texts than any model has; it is damaged: use another copy.")


def damaged(name: str) -> UnreadableError:
    """The refusal of what is no weights file."""
    return UnreadableError(
        f"'{name}' is not a readable safetensors or torch file; it is damaged, cut short or of another kind: "
        "download it again."
    )
