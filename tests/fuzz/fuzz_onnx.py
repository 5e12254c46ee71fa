# SPDX-License-Identifier: MIT
"""Fuzz the ONNX importer: `ImportRefusedError` in one line, or a network, from a file with nothing sound in it."""

import os

import engine
import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError

with engine.instrumented("exporters"):
    from exporters._onnx_glue import CONSTANT, COUNTING, MOVING
    from exporters._onnx_ops import HANDLERS
    from exporters.graph import ImportRefusedError, Network
    from exporters.import_onnx import from_onnx

from random_onnx import FLAWS, RandomGraph

OPERATORS = sorted(
    {*HANDLERS, *MOVING, *COUNTING, *CONSTANT, "Cast", "CastLike", "Constant", "Dropout", "If", "Loop"}
)
NUMBERS = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 5, 7, 12, 64, 2**16, 2**26, 2**31, 2**40, 2**63 - 1)
FLOATS = (0.0, -0.0, 1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
TYPES = (1, 2, 3, 6, 7, 8, 9, 10, 11, 14, 16, 17, 21, 22, 99)


def check(data):
    """Raise for a finding."""
    path = f"/dev/shm/fuzz_onnx_{os.getpid()}.onnx"
    with open(path, "wb") as file:
        file.write(bytes(data))
    try:
        network = from_onnx(path)
        assert isinstance(network, Network)
    except ImportRefusedError as error:
        assert "\n" not in str(error), str(error)
        assert str(error).startswith(path), str(error)
    finally:
        os.unlink(path)


def _graphs(graph):
    """A graph and those in it."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += _graphs(attribute.g)
    return found


def _names(graph):
    names = [v.name for v in (*graph.input, *graph.initializer)] + [o for n in graph.node for o in n.output]
    return names or ["x"]


def _change_node(graph, rng):
    if not graph.node:
        graph.node.add(op_type=rng.choice(OPERATORS), input=["x"], output=["y"])
        return
    at = rng.randrange(len(graph.node))
    node = graph.node[at]
    how = rng.randrange(9)
    if how == 0:
        node.op_type = rng.choice(OPERATORS)
    elif how == 1:
        del graph.node[at]
    elif how == 2:
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.output[:] = [f"{o}_{len(graph.node)}" for o in node.output]
    elif how == 3 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice([*_names(graph), "", "missing"])
    elif how == 4:
        node.input.append(rng.choice(_names(graph)))
    elif how == 5 and node.input:
        del node.input[rng.randrange(len(node.input))]
    elif how == 6 and node.output:
        node.output[rng.randrange(len(node.output))] = rng.choice([*_names(graph), "", "other"])
    elif how == 7:  # between a node and who reads it
        name = f"between{len(graph.node)}"
        inputs = [*node.output[:1], *rng.choices(_names(graph), k=rng.randrange(3))]
        new = onnx.helper.make_node(rng.choice(OPERATORS), inputs, [name])
        for other in graph.node[at + 1 :]:
            other.input[:] = [name if i in node.output[:1] else i for i in other.input]
        graph.node.insert(at + 1, new)
    else:
        node.domain = rng.choice(("", "ai.onnx", "com.microsoft", "local"))


def _change_attribute(graph, rng):
    nodes = [n for n in graph.node if n.attribute]
    if not nodes or rng.random() < 0.3:
        if graph.node:
            name = rng.choice(
                ("axis", "axes", "perm", "to", "value", "alpha", "hidden_size", "direction", "layout")
            )
            value = rng.choice((rng.choice(NUMBERS), [rng.choice(NUMBERS) for _ in range(3)], 0.5, "reverse"))
            rng.choice(graph.node).attribute.append(onnx.helper.make_attribute(name, value))
        return
    attributes = rng.choice(nodes).attribute
    attribute = rng.choice(attributes)
    how = rng.randrange(5)
    if how == 0:
        del attributes[list(attributes).index(attribute)]
    elif how == 1:
        attribute.name = rng.choice(("axis", "axes", "perm", "to", "value", "shape", "split", "value_ints"))
    elif how == 2:
        attribute.type = rng.randrange(15)
    elif attribute.HasField("t"):
        _change_tensor(attribute.t, rng)
    elif attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    elif attribute.HasField("i"):
        attribute.i = rng.choice(NUMBERS)
    elif attribute.HasField("f"):
        attribute.f = rng.choice(FLOATS)
    elif attribute.HasField("s"):
        attribute.s = rng.choice((b"reverse", b"forward", b"\xff", b""))
    elif attribute.strings:
        attribute.strings[rng.randrange(len(attribute.strings))] = rng.choice((b"Relu", b"Tanh", b"\xff"))


def _change_tensor(tensor, rng):
    how = rng.randrange(8)
    if how == 7:  # other dimensions, and numbers for them
        dims = [int(n) for n in tensor.dims if 0 < n < 50]
        dims[rng.randrange(len(dims) + 1) :] = rng.choices((1, 1, 2, 3, 5, 40), k=rng.randrange(3))
        values = np.random.default_rng(rng.getrandbits(32)).normal(0, 1, dims[:4])
        dtype = rng.choice((np.float32, np.float32, np.float64, np.float16, np.int64, np.bool_))
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(dtype), tensor.name))
    elif how == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif how == 1:
        tensor.dims.append(rng.choice((1, 1, 2, -1, 2**40)))
    elif how == 2:
        tensor.data_type = rng.choice(TYPES)
    elif how == 3 and tensor.raw_data:
        data = bytearray(tensor.raw_data)
        data[rng.randrange(len(data))] = rng.randrange(256)
        tensor.raw_data = bytes(data)
    elif how == 4:  # as a list of numbers instead of bytes
        tensor.ClearField("raw_data")
        tensor.float_data.extend(rng.choices(FLOATS, k=rng.randrange(5)))
        tensor.int64_data.extend(rng.choices(NUMBERS, k=rng.randrange(5)))
    elif how == 5:  # integers, such as shapes and axes
        values = np.array(rng.choices(NUMBERS, k=max(1, rng.randrange(4))), np.int64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    else:
        tensor.data_location = rng.randrange(2)
        entry = tensor.external_data.add()
        entry.key, entry.value = (
            rng.choice(("location", "offset", "length")),
            rng.choice(("x", "../x", "-1", "/dev/zero")),
        )


def _change_value(graph, rng):
    values = [*graph.input, *graph.output]
    if not values:
        return
    value = rng.choice(values)
    shape = value.type.tensor_type.shape.dim
    how = rng.randrange(6)
    if how == 0 and shape:
        rng.choice(shape).dim_value = rng.choice(NUMBERS)
    elif how == 1 and shape:
        rng.choice(shape).dim_param = rng.choice(("batch", "time", "n", ""))
    elif how == 2:
        shape.add().dim_param = rng.choice(("", "n"))
    elif how == 3:
        value.type.tensor_type.elem_type = rng.choice(TYPES)
    elif how == 4:
        value.name = rng.choice(_names(graph))
    else:
        graph.output.append(onnx.helper.make_tensor_value_info(rng.choice(_names(graph)), 1, None))


def _change_model(model, rng):
    graph = model.graph
    how = rng.randrange(5)
    if how == 0 and model.opset_import:
        model.opset_import[0].version = rng.choice((6, 7, 9, 11, 13, 14, 18, 21, 23, 28, 99))
    elif how == 1:
        model.ir_version = rng.choice((3, 7, 8, 10, 11, 99))
    elif how == 2 and graph.initializer:
        graph.initializer.add().CopyFrom(rng.choice(graph.initializer))
    elif how == 3:  # an If around what follows
        branch = onnx.GraphProto(name="branch")
        branch.node.extend(graph.node[-2:])
        branch.output.extend(graph.output)
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(rng.random() < 0.5), "condition"))
        node = onnx.helper.make_node("If", ["condition"], [o.name for o in graph.output], then_branch=branch)
        node.attribute.append(onnx.helper.make_attribute("else_branch", branch))
        del graph.node[-2:]
        graph.node.append(node)
    elif graph.node:  # a function of one node
        node = rng.choice(graph.node)
        model.functions.append(
            onnx.helper.make_function(
                "local", "F", list(node.input), list(node.output), [node], model.opset_import
            )
        )
        node.op_type, node.domain = "F", "local"
        model.opset_import.append(onnx.helper.make_opsetid("local", 1))


def mutate(data, rng, mutate_bytes):
    """A change of a model: bytes."""
    if rng.random() < 0.1:
        return mutate_bytes(data)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
        for _ in range(rng.choice((1, 1, 2, 3))):
            _change(model, rng)
        return model.SerializeToString()
    except (DecodeError, EncodeError, UnicodeDecodeError):  # what is damaged shall be kept
        return mutate_bytes(data)


def _change(model, rng):
    graph = rng.choice(_graphs(model.graph))
    change = rng.choice((_change_node, _change_node, _change_attribute, _change_value, None, None))
    if change is not None:
        change(graph, rng)
    elif graph.initializer and rng.random() < 0.7:
        _change_tensor(rng.choice(graph.initializer), rng)
    else:
        _change_model(model, rng)


def seeds():
    """Graphs of every operator, sound ones and others."""
    for seed in range(30):
        yield f"sound{seed}", RandomGraph(seed).model.SerializeToString()
    for seed, flaw in enumerate(FLAWS):
        yield f"flaw{seed}", RandomGraph(seed, flaw).model.SerializeToString()


if __name__ == "__main__":
    engine.main(check, mutate, seeds)
