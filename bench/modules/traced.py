"""A function of tensors as a flat list of operators, without those that do nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph import CodeGen

_ATEN = torch.ops.aten

# Operators that give their first argument again where it has the shape that they are to give.
_SHAPES = (_ATEN.view.default, _ATEN.expand.default, _ATEN._unsafe_view.default)

# Those that do, with this second argument, where numbers are no whole ones.
_NEUTRAL: dict[Any, float] = {_ATEN.mul.Scalar: 1, _ATEN.div.Scalar: 1, _ATEN.pow.Tensor_Scalar: 1}


@functools.cache
def ready() -> None:
    """Have torch load what it loads with the first trace of a process, for more than a second."""
    make_fx(lambda own: own + 1)(torch.zeros(1))


def traced(function: Callable[..., Any], given: list[Tensor]) -> Callable[..., Any]:
    """The operators that a function calls for tensors like these, in Python that is one line for each.

    Raises:
        Exception: it cannot be traced; torch has many errors for that.
    """
    made = make_fx(function)(*given)
    graph = made.graph
    if not any(node.op == "call_function" and _changes(node.target) for node in graph.nodes):
        _lean(graph)
    # A list of operators has no names to map its arguments by.
    graph.set_codegen(CodeGen())
    for node in graph.nodes:
        if node.op == "call_function":
            node.target = _fast(node.target)
    run = GraphModule(made, graph)

    def calm(*own: Tensor) -> Any:
        with torch.no_grad():
            return run.forward(*own)

    return calm


def _changes(target: Any) -> bool:
    """Whether an operator writes over what it is given, or draws."""
    tags = getattr(target, "tags", ())
    schema = getattr(target, "_schema", None)
    return schema is None or schema.is_mutable or torch.Tag.nondeterministic_seeded in tags


def _lean(graph: Graph) -> None:
    """Leave out what gives its argument again, what is computed twice, and what is never used."""
    known: dict[Any, Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        same = _argument_again(node)
        if same is None:
            key = (node.target, node.args, tuple(sorted(node.kwargs.items(), key=str)))
            try:
                same = known.setdefault(key, node)
            except TypeError:
                # What holds lists cannot be looked up.
                same = known.setdefault(repr(key), node)
        if same is not node:
            node.replace_all_uses_with(same)
            graph.erase_node(node)
    # A result that is an argument would be changed with it.
    output = next(node for node in graph.nodes if node.op == "output")
    for node in output.all_input_nodes:
        if node.op == "placeholder":
            with graph.inserting_before(output):
                output.replace_input_with(node, graph.call_function(_ATEN.clone.default, (node,)))
    graph.eliminate_dead_code()
    graph.lint()


def _argument_again(node: Node) -> Node | None:
    first: Any = node.args[0] if node.args else None
    if not isinstance(first, Node):
        return None
    own, gave = first.meta.get("val"), node.meta.get("val")
    if not isinstance(own, Tensor) or not isinstance(gave, Tensor) or _layout(own) != _layout(gave):
        return _turned_back(node, first)
    if node.target in _SHAPES:
        return first
    if node.target in _NEUTRAL and own.is_floating_point() and node.args[1] == _NEUTRAL[node.target]:
        return first
    return _turned_back(node, first)


def _layout(tensor: Tensor) -> Any:
    """Of another layout a product may be rounded otherwise."""
    return tensor.shape, tensor.dtype, tensor.stride()


def _turned_back(node: Node, first: Node) -> Node | None:
    """What was transposed twice."""
    if node.target is first.target is _ATEN.transpose.int and set(node.args[1:]) == set(first.args[1:]):
        return first.args[0]  # pyright: ignore[reportReturnType]
    return None


def _fast(target: Any) -> Any:
    """The same operator as torch's own function, which takes half as long to call."""
    schema = getattr(target, "_schema", None)
    name = schema.name.removeprefix("aten::") if schema is not None and schema.name.startswith("aten::") else ""
    if name in _FUNCTIONS:
        return getattr(torch, name)
    return getattr(Tensor, name) if name in ("view", "expand") else target


# Those whose arguments are, in their order, those of the operator.
_FUNCTIONS = ("add", "sub", "mul", "div", "neg", "tanh", "sigmoid", "relu", "exp", "bmm", "mm", "baddbmm", "transpose")
