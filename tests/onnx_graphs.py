# SPDX-License-Identifier: MIT
"""ONNX graphs by hand, and what ONNX Runtime computes of them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from test_from_onnx import TOLERANCE, run_network, session

from exporters import from_onnx


def floats(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def value_info(name, rank=3):
    """An output with all its axes left open."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}_{i}" for i in range(rank)])


def graph_of(nodes, weights=(), inputs=None, outputs=("y",), opset=17, rank=3):
    """A model of nodes (operator, inputs, outputs[, attributes])."""
    made = [
        helper.make_node(
            op, takes.split(" ") if takes else [], gives.split(), name=f"n{i}", **(rest[0] if rest else {})
        )
        for i, (op, takes, gives, *rest) in enumerate(nodes)
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(weights).items()]
    inputs = inputs or {"x": ("a", "b", 5)}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    ends = [value_info(name, rank) for name in outputs]
    graph = helper.make_graph(made, "test", values, ends, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def assert_equals_onnxruntime(model, x, layers=None):
    network = from_onnx(model)
    [want] = session(model).run(None, {"x": x})
    found = network.run(x) if x.ndim == 2 else run_network(network, x)
    np.testing.assert_allclose(found, want, atol=TOLERANCE)
    if layers is not None:
        assert [type(layer).__name__ for layer in network.layers] == layers
    return network


def with_weight(model, position, array):
    tensor = model.graph.initializer[position]
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model
