"""Pickles as torch writes them, read by an interpreter of our own.

Nothing is imported and nothing is called. A global becomes a record of its name. A call of a global
becomes a `Foreign`, a record of the name and of the arguments. So no pickle reaches an object of
this process, and its memory and time are bounded by its length.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# The largest published training state has half a million; a larger pickle would take minutes.
MAX_OPCODES = 4_000_000
_MAX_NAME = 500

# No weight file needs these. They are refused by name rather than ignored.
_HOSTILE_MODULES = {
    *("os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "pty"),
    *("importlib", "runpy", "ctypes", "webbrowser", "pickle", "marshal"),
}
_HOSTILE_BUILTINS = {"eval", "exec", "execfile", "compile", "open", "__import__", "breakpoint"}
_BUILTINS = {"builtins", "__builtin__"}
_DICTS = {("collections", "OrderedDict"), ("collections", "defaultdict")}
_DICTS |= {(module, "dict") for module in _BUILTINS}


class Refused(Exception):
    """A pickle that asks for something dangerous; the message names it."""


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a class or function."""

    module: str
    name: str

    def __str__(self):
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False)
class Foreign:
    """A record of an object that a call of a global would make: its name and its arguments."""

    name: Global
    parts: list = field(default_factory=list)


class Table(dict):
    """A dict with text keys. `others`: the (key, value) pairs with other keys."""

    __slots__ = ("others",)

    def __init__(self):
        super().__init__()
        self.others: tuple | list = ()

    def put(self, items: list) -> None:
        """Adds entries from a list key, value, key, value, ..."""
        if len(items) % 2:
            raise ValueError("a key without a value")
        for key, value in zip(items[::2], items[1::2]):
            if type(key) is str:
                self[key] = value
            else:
                self.others = self.others or []
                self.others.append((key, value))


def load(
    stream,
    *,
    rebuild: Callable[[Global, tuple], Any] = lambda name, arguments: None,
    persistent: Callable[[Any], Any] = lambda reference: None,
    built: Callable[[Any], Any] = lambda foreign: None,
) -> Any:
    """The value of one pickle: plain values, lists, tuples, `Table`, `Global` and `Foreign`.

    stream: has `read`, `readline` and `tell`, such as BytesIO; it ends behind the pickle.
    rebuild: the result of a call of a global with its arguments; None makes a `Foreign`.
    persistent: the result of a reference to something outside the pickle. built: what stands for a
    `Foreign` whose state has been set; None keeps it.
    Raises Refused, or any error to which a damaged pickle leads.
    """
    machine = _Machine(rebuild, persistent, built)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count > MAX_OPCODES:
            raise ValueError("too long")
        name = opcode.name
        if name in _VALUES:
            machine.stack.append(argument)
        elif name == "STOP":
            return machine.stack.pop()
        else:
            _HANDLERS[name](machine, argument)
    raise ValueError("no end")


class _Machine:
    def __init__(self, rebuild, persistent, built):
        self.rebuild, self.persistent, self.built = rebuild, persistent, built
        self.stack, self.marks, self.memo, self.copied = [], [], {}, 0

    def to_mark(self) -> list:
        """Takes off the items above the last mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def top(self, count: int) -> tuple:
        items = tuple(self.stack[-count:])
        if len(items) < count:
            raise ValueError("an empty stack")
        del self.stack[-count:]
        return items

    def named(self, module, name) -> None:
        if any(type(text) is not str or len(text) > _MAX_NAME for text in (module, name)):
            raise ValueError("no name")
        hostile = module in _BUILTINS and name in _HOSTILE_BUILTINS
        if hostile or module.split(".")[0] in _HOSTILE_MODULES:
            raise Refused(f"{module}.{name}")
        self.stack.append(Global(module, name))

    def call(self, function, arguments) -> None:
        """Pushes the result of a call, or a new object of a class."""
        if isinstance(function, Foreign):
            # An attribute of something foreign, say.
            result = Foreign(function.name, [function, arguments])
        elif not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise ValueError("a call of no function")
        elif (function.module, function.name) in _DICTS:
            result = self.dict_of(arguments)
        else:
            result = self.rebuild(function, arguments)
            # Arguments are kept, not copied: one tuple may stand behind many calls.
            result = Foreign(function, [arguments]) if result is None else result
        self.stack.append(result)

    def dict_of(self, arguments: tuple) -> Table:
        """A table from pairs, as Python 2 writes an OrderedDict, or an empty one."""
        table = Table()
        for pair in arguments[-1] if arguments and isinstance(arguments[-1], list) else ():
            self.copied += 1
            if self.copied > MAX_OPCODES:
                raise ValueError("too many pairs")
            key, value = pair
            table.put([key, value])
        return table

    def extend(self, items: list) -> None:
        """Adds items to the list, set or object on top of the stack."""
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif isinstance(target, Foreign):
            target.parts.extend(items)
        else:
            raise ValueError("not a list")

    def update(self, items: list) -> None:
        """Adds keys and values to the dict or object on top of the stack."""
        target = self.stack[-1]
        if isinstance(target, Table):
            target.put(items)
        elif isinstance(target, Foreign):
            target.parts.extend(items)
        else:
            raise ValueError("not a dict")

    def build(self) -> None:
        """Sets the state of the object on top; only a foreign one keeps it."""
        (state,) = self.top(1)
        target = self.stack[-1]
        if isinstance(target, Global):
            raise Refused(f"a change of {target}")
        if isinstance(target, Foreign):
            target.parts.append(state)
            value = self.built(target)
            self.stack[-1] = target if value is None else value


def _of_pairs(items: list) -> Table:
    table = Table()
    table.put(items)
    return table


def _push(make: Callable) -> Callable:
    return lambda machine, argument: machine.stack.append(make(machine))


def _get(machine, key):
    machine.stack.append(machine.memo[int(key)])


def _put(machine, key):
    machine.memo[int(key)] = machine.stack[-1]


def _pop(machine, _):
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _of_class(machine, argument):
    """INST and OBJ, of protocols before 2."""
    items = machine.to_mark()
    if argument is None:
        machine.call(items[0], tuple(items[1:]))
    else:
        _global(machine, argument)
        machine.call(machine.stack.pop(), tuple(items))


def _global(machine, argument):
    machine.named(*argument.split(" ", 1))


def _new_with_names(machine, _):
    function, arguments, names = machine.top(3)
    machine.call(function, (arguments, names))


def _call(machine, _):
    machine.call(*machine.top(2))


def _set(items: list) -> Foreign:
    return Foreign(Global("builtins", "set"), items)


# Opcodes whose argument is the value.
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}
_HANDLERS: dict[str, Callable] = {
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: None,
    "NONE": _push(lambda m: None),
    "NEWTRUE": _push(lambda m: True),
    "NEWFALSE": _push(lambda m: False),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": _pop,
    "POP_MARK": lambda machine, _: machine.to_mark(),
    "DUP": _push(lambda m: m.stack[-1]),
    "EMPTY_TUPLE": _push(lambda m: ()),
    "TUPLE1": _push(lambda m: m.top(1)),
    "TUPLE2": _push(lambda m: m.top(2)),
    "TUPLE3": _push(lambda m: m.top(3)),
    "TUPLE": _push(lambda m: tuple(m.to_mark())),
    "EMPTY_LIST": _push(lambda m: []),
    "LIST": _push(lambda m: m.to_mark()),
    "EMPTY_DICT": _push(lambda m: Table()),
    "DICT": _push(lambda m: _of_pairs(m.to_mark())),
    "EMPTY_SET": _push(lambda m: _set([])),
    "FROZENSET": _push(lambda m: _set(m.to_mark())),
    "APPEND": lambda machine, _: machine.extend(list(machine.top(1))),
    "APPENDS": lambda machine, _: machine.extend(machine.to_mark()),
    "ADDITEMS": lambda machine, _: machine.extend(machine.to_mark()),
    "SETITEM": lambda machine, _: machine.update(list(machine.top(2))),
    "SETITEMS": lambda machine, _: machine.update(machine.to_mark()),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    "MEMOIZE": lambda machine, _: _put(machine, len(machine.memo)),
    "GLOBAL": _global,
    "STACK_GLOBAL": lambda machine, _: machine.named(*machine.top(2)),
    "INST": _of_class,
    "OBJ": _of_class,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "NEWOBJ_EX": _new_with_names,
    "BUILD": lambda machine, _: machine.build(),
    "PERSID": lambda machine, key: machine.stack.append(machine.persistent(key)),
    "BINPERSID": lambda machine, _: machine.stack.append(machine.persistent(*machine.top(1))),
}
