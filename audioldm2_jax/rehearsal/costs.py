"""Floating-point operations and bytes of main memory that an instruction of a program takes.

FLOPs are those of products: dots, convolutions and fused attention, twice the multiplications, as
XLA's own cost analysis counts them (a convolution's products with its padding do not count).
"""

from __future__ import annotations

import math
import re

from audioldm2_jax.rehearsal.hlo import Instruction, Module, Shape

# Read a part of their first operand, as large as the result.
_PARTIAL = ("dynamic-slice", "gather", "slice")
# No memory is touched: the result is another name for an operand.
ALIASES = ("bitcast", "get-tuple-element", "tuple", "parameter", "optimization-barrier")


def flops(module: Module, computation: str, instruction: Instruction) -> float:
    """Of an instruction and of all that it fuses."""
    shapes = [module.shapes_of(computation, name) for name in instruction.operands]
    if instruction.opcode == "dot":
        return _dot(instruction, shapes[0][0])
    if instruction.opcode == "convolution":
        window = instruction.attribute("window"), instruction.attribute("dim_labels")
        return _convolution(*window, shapes[0][0], shapes[1][0], instruction.shapes[0])
    if instruction.opcode == "custom-call":
        return _library(instruction, [members[0] for members in shapes if members])
    if instruction.opcode == "fusion":
        (called,) = instruction.called
        inner = module.computations[called].values()
        return sum(flops(module, called, i) for i in inner)
    return 0.0


def _dot(instruction: Instruction, lhs: Shape) -> float:
    contracted = _numbers(instruction.attribute("lhs_contracting_dims"))
    return 2.0 * instruction.shapes[0].size * math.prod(lhs.dims[d] for d in contracted)


def _convolution(window: str, labels: str, image: Shape, kernel: Shape, result: Shape) -> float:
    """window, labels: as XLA writes them. The forward pass' image and result, also of gradients."""
    of_image, of_kernel, of_result = re.split(r"_|->", labels)
    settings = _window(window)
    pairs = 1
    for label in sorted(set("".join((of_image, of_kernel, of_result))) - set("bfio")):
        # TPUs compute products as convolutions over axes that some operand lacks.
        size, taps, steps = (
            shape.dims[names.index(label)] if label in names else 1
            for shape, names in ((image, of_image), (kernel, of_kernel), (result, of_result))
        )
        pairs *= _pairs(size, taps, steps, **{k: v[int(label)] for k, v in settings.items()})
    batch, outputs = result.dims[of_result.index("b")], result.dims[of_result.index("f")]
    return 2.0 * pairs * batch * outputs * kernel.dims[of_kernel.index("i")]


def _window(text: str) -> dict[str, list[int]]:
    """{setting: a value for each axis} of `{size=3x3 pad=1_1x1_1 stride=2x2}`."""
    fields = dict(re.findall(r"(\w+)=([\dx_\-]+)", text))
    axes = len(fields["size"].split("x")) if "size" in fields else 0
    ones = "x".join("1" * axes)
    settings = {
        name: [int(n) for n in fields.get(name, ones).split("x")] if axes else []
        for name in ("stride", "lhs_dilate", "rhs_dilate")
    }
    pads = fields.get("pad", "x".join(["0_0"] * axes))
    settings["pad"] = [int(pad.split("_")[0]) for pad in pads.split("x")] if axes else []
    return settings


def _pairs(size: int, taps: int, steps: int, *, stride, lhs_dilate, rhs_dilate, pad) -> int:
    """How many (result, tap) pairs of an axis fall on an element of the image."""
    count = 0
    for tap in range(taps):
        first = tap * rhs_dilate - pad
        # Elements lie at 0, lhs_dilate, 2 lhs_dilate ...; results read at first + stride * i.
        if stride == 1 and lhs_dilate == 1:
            count += max(0, min(steps, size - first) - max(0, -first))
            continue
        for i in range(steps):
            place = first + stride * i
            count += place % lhs_dilate == 0 and 0 <= place // lhs_dilate < size
    return count


def _library(instruction: Instruction, shapes: list[Shape]) -> float:
    """Of cuDNN's convolution and attention and cuBLAS' product; 0 for what nobody states."""
    target, result = instruction.target, instruction.shapes[0]
    if "conv" in target:
        image, kernel = shapes[:2]
        if "BackwardInput" in target:
            image, result = result, image
        elif "BackwardFilter" in target:
            kernel, result = result, kernel
        window = instruction.attribute("window"), instruction.attribute("dim_labels")
        return _convolution(*window, image, kernel, result)
    if "gemm" in target or "matmul" in target:
        contracted = _setting("lhs_contracting_dimensions", instruction)
        return 2.0 * result.size * math.prod(shapes[0].dims[d] for d in contracted)
    if "fmha" in target:
        # Two products of [L, S, H], of the gradient five: the scores are computed again.
        scores = math.prod(_setting("dimensions", instruction))
        return (10.0 if "Backward" in target else 4.0) * scores * shapes[0].dims[-1]
    # What the author of a Pallas kernel estimates.
    match = re.search(r'"cost_estimate": ?{"flops": ?"?(\d+)', instruction.attributes)
    return float(match[1]) if match else 0.0


def _setting(name: str, instruction: Instruction) -> tuple[int, ...]:
    """The first list of numbers of this name in a library call's settings."""
    match = re.search(rf'"{name}": ?\[([^\]]*)\]', instruction.attributes)
    return _numbers(match[1]) if match else ()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", text))


def bytes_moved(module: Module, computation: str, instruction: Instruction) -> int:
    """Bytes of main memory that a kernel reads and writes, each operand once."""
    opcode = instruction.opcode
    if opcode == "copy-start":
        # The result's second member is the operand again.
        source = module.shapes_of(computation, instruction.operands[0])
        return instruction.shapes[0].bytes + _total(source)
    if opcode.endswith("slice-start"):
        # Its second member is the slice.
        return _logical(instruction.shapes[1:2]) + instruction.shapes[1].bytes
    if opcode == "custom-call":
        # Members of bytes are a library's scratch.
        written = sum(s.bytes for s in instruction.shapes if s.dtype not in ("u8", "s8"))
    elif opcode == "fusion":
        written = _written(module, instruction)
    elif opcode == "dynamic-update-slice":
        written = _total(module.shapes_of(computation, instruction.operands[1]))
    else:
        written = _total(instruction.shapes)
    read = 0
    for i, name in enumerate(instruction.operands):
        whole = _total(module.shapes_of(computation, name))
        if opcode == "fusion":
            whole = min(whole, _read(module, instruction.called[0], i, whole))
        elif opcode in _PARTIAL and i == 0:
            whole = min(whole, _total(instruction.shapes))
        elif opcode == "dynamic-update-slice" and i == 0:
            whole = 0
        read += whole
    return written + read


def _total(shapes: tuple[Shape, ...]) -> int:
    return sum(shape.bytes for shape in shapes)


def _read(module: Module, computation: str, index: int, whole: int) -> int:
    """Bytes that a fused computation reads of its parameter `index`, which has `whole`."""
    instructions = module.computations[computation].values()
    names = {i.name for i in instructions if i.opcode == "parameter" and i.literal == str(index)}
    if not names:
        return whole
    size = 0
    for user in instructions:
        for position, name in enumerate(user.operands):
            if name not in names:
                continue
            if user.opcode == "bitcast":
                names.add(user.name)
            elif user.opcode in _PARTIAL and position == 0:
                size += _logical(user.shapes)
            elif user.opcode == "fusion":
                size += _read(module, user.called[0], position, whole)
            elif not (user.opcode == "dynamic-update-slice" and position == 0):
                return whole
    return min(size, whole)


def _logical(shapes: tuple[Shape, ...]) -> int:
    """Bytes of arrays inside a fusion, which are in no memory."""
    return sum(-(-shape.size * shape.bits // 8) for shape in shapes)


def _written(module: Module, instruction: Instruction) -> int:
    """Bytes that a fusion writes: where it updates an operand in place, those of the update."""
    inner = module.computations[instruction.called[0]]
    root = next((i for i in inner.values() if i.is_root), None)
    if root is None:
        return _total(instruction.shapes)
    members = [inner.get(name) for name in root.operands] if root.opcode == "tuple" else [root]
    if len(members) != len(instruction.shapes):
        return _total(instruction.shapes)
    size = 0
    for member, shape in zip(members, instruction.shapes):
        while member is not None and member.opcode == "bitcast":
            member = inner.get(member.operands[0])
        if member is not None and member.opcode == "dynamic-update-slice" and shape.bytes:
            update = inner.get(member.operands[1])
            size += min(shape.bytes, _logical(update.shapes)) if update else shape.bytes
        else:
            size += shape.bytes
    return size
