"""An ONNX graph under construction: operators are added one by one, arrays become its constants."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

OPSETS = {"": 18, "ai.onnx.ml": 3}
IR_VERSION = 9  # what came out with opset 18's time: onnxruntime from 1.16 on reads it

Array = npt.NDArray[Any]


@dataclass(kw_only=True)
class Graph:
    """Nodes and constants so far; a value is known by its name.

    >>> graph = Graph()
    >>> graph.add("Add", "x", np.float32(1))
    'Add_0'
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(
        self, operator: str, *inputs: str | Array | np.generic, domain: str = "", **attributes: Any
    ) -> str:
        """Add an operator with one output; returns its name."""
        return self._add(operator, inputs, 1, domain, attributes)[0]

    def split(self, value: str, sizes: Sequence[int], *, axis: int = 1) -> list[str]:
        """Cut a value along a dimension."""
        return self._add(
            "Split", (value, np.array(sizes, dtype=np.int64)), len(sizes), "", {"axis": axis}
        )

    def cast(self, value: str, to: type[np.generic]) -> str:
        """Turn a value into another type."""
        return self.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))

    def _add(
        self,
        operator: str,
        inputs: Sequence[str | Array | np.generic],
        count: int,
        domain: str,
        attributes: dict[str, Any],
    ) -> list[str]:
        outputs = [
            f"{operator}_{len(self.nodes)}" + (f"_{place}" if place else "")
            for place in range(count)
        ]
        names = [
            value if isinstance(value, str) else self._constant(np.asarray(value))
            for value in inputs
        ]
        self.nodes.append(helper.make_node(operator, names, outputs, domain=domain, **attributes))
        return outputs

    def _constant(self, values: Array) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(
            numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name)
        )
        return name

    def model(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        values: Sequence[str],
    ) -> onnx.ModelProto:
        """The whole, checked; `values` are the names that the outputs stand for."""
        ends = [
            helper.make_node("Identity", [value], [output.name])
            for value, output in zip(values, outputs, strict=True)
        ]
        whole = helper.make_graph(
            [*self.nodes, *ends], "strata", list(inputs), list(outputs), initializer=self.constants
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        made = helper.make_model(
            whole, opset_imports=opsets, ir_version=IR_VERSION, producer_name="strata"
        )
        onnx.checker.check_model(made, full_check=True)
        return made


def tensor(name: str, kind: type[np.generic], *shape: str | int) -> onnx.ValueInfoProto:
    """An input or output by name, type and shape; a word in the shape is a size that varies."""
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), list(shape)
    )
