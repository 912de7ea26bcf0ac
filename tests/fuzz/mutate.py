"""Seeded damage to input files: bytes, JSON, weight files, archives, whole folders.

Each function takes a `random.Random` and returns the damaged content and a description.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

# Values that JSON can hold and no field expects.
JSON_VALUES = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 10**4, 2**31, 2**63, -(2**63), 10**30, 10**400),
    *(0.0, 0.5, -0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "0", "x", "nan", "\0", "\x1b[31m", "\ud800", "\u2028", "../..", "/etc/passwd", "~"),
    *("a" * 300, "é" * 200, "{}", "linear", "auto"),
    *([], [[]], [0], [None], [""], [-1, 2], [1] * 9, ["a", "b"], [True], [0.5], [[1, [2]]]),
    *({}, {"": 0}, {"a": {}}, {"x": [1]}),
]
# Texts that an option or a field of text may be given.
TEXTS = [
    *("", " ", "\t", "-", "--", "a", "0", "1", "-1", "2", "7", "0.5", "-0.5", "1e309", "-1e309"),
    *("nan", "inf", "-inf", "NaN", "1e-320", "1e3", "10" * 30, "9" * 5000, str(2**31), str(2**63)),
    *("0x10", "1_000", "٣", "½", "None", "True", "false", "[]", "{}", "()", "1,2", ",", ",,", "="),
    *("a=b", ":", "::", "a:b:c", "|", "\n", "a\nb", "\r", "\x1b[31mred", "\x07", "\x7f", "\x85"),
    *("\u2028", "\u202e", "\ufeff", "\ud800", "a\udcff", "🐕", "é", "e\u0301", "日本語", "ﷺ"),
    *("~", "~/x", "~nobody/x", ".", "..", "../..", "/", "//", "/dev/null", "/dev/zero"),
    *("/dev/full", "/dev/stdin", "/proc/self/mem", "/etc/passwd", "/root", "/no/such/thing"),
    *("a/b/c", "a" * 300, "a/" * 3000, "é" * 200, "word " * 3000, "%s", "%n", "{0}", "*", "?"),
    *("(", "[a", "\\", "\\x", "a\\b", "'", '"', "`id`", "$(id)", "; ls", "<!doctype>", "C:\\x"),
    *("auto", "raw", "ema", "fp32", "bf16", "int8", "cpu", "gpu", "tpu", "ddim", "euler", "tiny"),
    *(
        "nano",
        "random",
        "train",
        "audio",
        "a/b",
        "a/b/c/d",
        "hf://a/b",
        "https://a.b/c",
        "file:///x",
    ),
]
_SPLICES = [
    *(b"", b"\0", b"\xff" * 4, b"\0" * 64, b"\n", b"\r", b'"', b"{", b"[" * 5000, b"}" * 3),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[31m", b"\xe2\x80\xa8", b"\x85", b","),
    *(b"NaN", b"1e999", b"-1", b"9" * 400, b"null", b"PK\x03\x04", b"RIFF", b"\x80\x02.", b"q\xff"),
]


def damaged_bytes(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """One to three of: flipped bits, a cut, bytes left out, doubled, overwritten or inserted."""
    notes = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data, note = _damaged_once(rng, data)
        notes.append(note)
    return data, "; ".join(notes)


def _damaged_once(rng, data):
    # Headers decide most: half of all places are near the front.
    reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
    at = rng.randrange(reach) if reach else 0
    size = min(len(data) - at, rng.choice((1, 2, 4, 8, 64, 1024)))
    kind = rng.choice("flip flip flip cut drop double splice number number swap grow".split())
    where = f"{kind} at {at}"
    if kind == "flip" and data:
        bit = 1 << rng.randrange(8)
        return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :], f"{where} bit {bit}"
    if kind == "cut":
        return data[:at], where
    if kind == "drop":
        return data[:at] + data[at + size :], f"{where} size {size}"
    if kind == "double":
        return data[: at + size] + data[at:], f"{where} size {size}"
    if kind == "number":
        value = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), 2**16, 255, 127))
        form = rng.choice(("<i", ">i", "<q", ">q"))
        piece = struct.pack(form, value)
        return data[:at] + piece + data[at + len(piece) :], f"{where} {form} {value}"
    if kind == "swap":
        return data[at:] + data[:at], where
    if kind == "grow":
        return data + data[at:] * rng.choice((1, 3)), where
    piece = rng.choice(_SPLICES)
    over = rng.choice((0, len(piece)))
    return data[:at] + piece + data[at + over :], f"{where} {piece[:12]!r} over {over}"


def damaged_json(rng: random.Random, content):
    """A copy with one to three values replaced, left out, doubled or added; a description."""
    content, notes = json.loads(json.dumps(content)), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(content))
        if not places or rng.random() < 0.02:
            content = rng.choice(JSON_VALUES)
            notes.append(f"all = {content!r:.40}")
            continue
        holder, key, path = rng.choice(places)
        notes.append(_changed(rng, holder, key, path))
    return content, "; ".join(notes)


def _changed(rng, holder, key, path):
    kind = rng.choice("value value value value near near drop rename add nest".split())
    old = holder[key]
    if kind == "near" and isinstance(old, (int, float)) and not isinstance(old, bool):
        near = (old + 1, old - 1, -old, old * 2, bool(old), f"{old:g}" if abs(old) < 9e99 else "1")
        holder[key] = rng.choice((*near, float(old) if abs(old) < 9e99 else 0.5))
    elif kind == "near" and isinstance(old, list):
        holder[key] = rng.choice((old[:-1], old + old, old[::-1], [old], dict.fromkeys("ab", old)))
    elif kind == "near" and isinstance(old, str):
        holder[key] = rng.choice((old + "x", old.upper(), [old], {old: old}, old[:-1], old * 99))
    elif kind == "drop":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        holder[rng.choice(("", "x", "\x1b", "\ud800", key.upper(), key + "_"))] = holder.pop(key)
    elif kind == "add" and isinstance(holder, dict):
        holder[rng.choice(("x", "", "_class_name", "dtype"))] = rng.choice(JSON_VALUES)
    elif kind == "nest":
        for _ in range(rng.choice((1, 250))):
            old = [old]
        holder[key] = old
    else:
        holder[key] = rng.choice(JSON_VALUES)
    shown = repr(holder.get(key, "absent") if isinstance(holder, dict) else holder)
    return f"{kind} {path} -> {shown:.60}"


def _places(content, path=""):
    """(holder, key, path) of every value, the deep ones no likelier than the others."""
    items = content.items() if isinstance(content, dict) else ()
    if isinstance(content, list):
        items = list(enumerate(content))[:8]
    for key, value in items:
        yield content, key, f"{path}/{key!s:.20}"
        if isinstance(value, (dict, list)):
            yield from _places(value, f"{path}/{key!s:.20}")


def damaged_text_of_json(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A JSON file: mostly its values, now and then its bytes."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return damaged_bytes(rng, data)
    if rng.random() < 0.15:
        return damaged_bytes(rng, data)
    content, note = damaged_json(rng, content)
    return json.dumps(content).encode("utf-8", "surrogatepass"), note


def damaged_lines_of_json(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """One line of a JSON lines file."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at], note = damaged_text_of_json(rng, lines[at])
    return b"\n".join(lines), f"line {at + 1}: {note}"


def damaged_safetensors(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Mostly the header's values, its length kept true."""
    if rng.random() < 0.3 or len(data) < 10:
        return damaged_bytes(rng, data)
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.2:
        at = 8 + length + rng.randrange(max(1, len(data) - 8 - length))
        value = rng.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\xff\xff"))
        return data[:at] + value + data[at + 4 :], f"tensors at {at}: {value!r}"
    header, note = damaged_text_of_json(rng, data[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + data[8 + length :], f"header: {note}"


def damaged_zip(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A zip (torch's are some): its members' bytes, names and methods, or the bytes of all."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(i.filename, archive.read(i)) for i in archive.infolist()]
    except Exception:
        return damaged_bytes(rng, data)
    if rng.random() < 0.25 or not members:
        return damaged_bytes(rng, data)
    at = rng.randrange(len(members))
    if rng.random() < 0.6:
        at = next((i for i, m in enumerate(members) if m[0].endswith("data.pkl")), at)
    name, content = members[at]
    method, kind = zipfile.ZIP_STORED, rng.choice("content content content name drop twice method")
    kind = rng.choice("content content content content name drop twice method".split())
    note = ""
    if kind == "content":
        change = damaged_pickle if name.endswith(".pkl") else damaged_bytes
        content, note = change(rng, content)
        members[at] = (name, content)
    elif kind == "name":
        note = rng.choice(("x", "../x", "/x", "a/data.pkl", "\x1b", "d/" * 40, "é"))
        members[at] = (note, content)
    elif kind == "drop":
        del members[at]
    elif kind == "twice":
        members.append(members[at])
    else:
        method = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        note = str(method)
    return _zipped(members, method), f"member {name} {kind} {note}"


def _zipped(members, method):
    import warnings

    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


# What a pickle may ask for: (module, name, arguments, state).
_GLOBALS = [
    *(("os", "system"), ("builtins", "eval"), ("builtins", "dict"), ("numpy", "dtype")),
    *(("torch", "BFloat16Storage"), ("torch", "FloatStorage"), ("torch", "float32")),
    *(("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")),
    *(("collections", "OrderedDict"), ("collections", "Counter"), ("argparse", "Namespace")),
    *(("torch", "FloatStorage.x"), ("numpy.core.multiarray", "scalar"), ("a\x1bb", "c\nd")),
    *(("torch", "Size"), ("torch", "device"), ("pathlib", "PosixPath"), ("__main__", "X")),
]


def damaged_pickle(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A pickle with other bytes, or one that builds, calls or memoises what it should not."""
    if rng.random() < 0.6:
        return damaged_bytes(rng, data)
    module, name = rng.choice(_GLOBALS)
    requested = b"c" + f"{module}\n{name}\n".encode()
    kind = rng.choice("global reduce build newobj memo deep big keys".split())
    state = pickle.dumps({"names": (), "shape": (3,), "__class__": 1, "alignment": 64}, 2)[2:-1]
    forms = {
        "global": b"\x80\x02" + requested + b".",
        "reduce": b"\x80\x02" + requested + b"(K\x01X\x01\0\0\0at" + b"R.",
        "build": b"\x80\x02" + requested + state + b"b0" + data.removeprefix(b"\x80\x02"),
        "newobj": b"\x80\x02" + requested + b")\x81" + state + b"b.",
        "memo": b"\x80\x02}r" + struct.pack("<I", rng.choice((2**29, 2**31, 2**32 - 1))) + b".",
        "deep": b"\x80\x02" + b"]" * 20000 + b"a" * 19999 + b".",
        "big": b"\x80\x02" + b"\x8a\xff" + b"\x7f" * 255 + b".",
        "keys": pickle.dumps({1: 2, None: {}, (): [], b"x": 3, 2.5: "a"}, 2),
    }
    return forms[kind], f"pickle {kind} {module}.{name}"


def changer_of(path: Path) -> Callable:
    """What damages a file of this name."""
    name = path.name.lower()
    if name.endswith(".json"):
        return damaged_text_of_json
    if name.endswith((".jsonl", ".ndjson")):
        return damaged_lines_of_json
    if name.endswith(".safetensors"):
        return damaged_safetensors
    if name.endswith((".zip", ".ckpt", ".pth", ".pt", ".bin")):
        return damaged_zip
    return damaged_bytes


def damage_tree(rng: random.Random, root: Path) -> str:
    """Damages one file below `root`, or what stands in its place; returns a description."""
    paths = sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    path = rng.choice(paths)
    name = path.relative_to(root).as_posix()
    if rng.random() < 0.8:
        data, note = changer_of(path)(rng, path.read_bytes())
        replace(path, data)
        return f"{name}: {note}"
    return f"{name}: {_misplaced(rng, root, path, paths)}"


def replace(path: Path, data: bytes) -> None:
    """Another file of that name: what was linked to the old one stays as it was."""
    path.unlink()
    path.write_bytes(data)


def _misplaced(rng, root, path, paths) -> str:
    kinds = "absent empty folder fifo loop dangling outside device rename swap sparse parent"
    kind, other = rng.choice(kinds.split()), rng.choice(paths)
    if kind == "parent" and path.parent != root:
        shutil.rmtree(path.parent)
        path.parent.write_bytes(b"x")
    elif kind == "swap" and other != path:
        one, two = path.read_bytes(), other.read_bytes()
        replace(path, two)
        replace(other, one)
    elif kind == "rename":
        new = rng.choice(("x", ".x", "x" * 200, "\udcff", "a\x1b[31mb", "a\nb", "é", " ", "-q"))
        path.rename(path.with_name(new + path.suffix))
    else:
        path.unlink()
    links = {"loop": path.name, "dangling": "nowhere", "outside": "/etc/passwd"}
    links["device"] = rng.choice(("/dev/zero", "/dev/full", "/dev/null", "/proc/self/mem"))
    if kind in links:
        path.symlink_to(links[kind])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    return kind
