# SPDX-License-Identifier: MIT
"""Small faults put into Python modules, one at a time: operators, constants, conditions, statements left out.

By the syntax tree; texts, annotations and docstrings stay as they are.
"""

import ast
import copy

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.MatMult: ast.Mult,
}


def others(node):
    """Nodes to put in the place of a node."""
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                changed = copy.deepcopy(node)
                changed.ops[index] = other()
                yield changed
    elif isinstance(node, (ast.BinOp, ast.AugAssign)):
        yield replace(node, op=OPERATORS[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield replace(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.Invert)):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from constants(node.value)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        values = (False,) if isinstance(node, ast.While) else (True, False)
        for value in values:
            yield replace(node, test=ast.Constant(value))
    elif isinstance(node, ast.comprehension):
        for index in range(len(node.ifs)):
            yield replace(node, ifs=[test for other, test in enumerate(node.ifs) if other != index])
    elif isinstance(node, ast.Return) and node.value is not None and not is_constant(node.value, None):
        yield ast.Return(ast.Constant(None))
    if isinstance(node, (ast.AugAssign, ast.Raise, ast.Break, ast.Continue)) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield ast.Pass()


def is_constant(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def constants(value):
    """Constants to put in the place of one."""
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
        yield ast.Constant(value - 1)
    elif isinstance(value, float):
        yield ast.Constant(2 * value + 1)


def replace(node, **fields):
    """A copy of a node with other fields."""
    changed = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def children(node):
    """(field, index or None, child) of a node, without what stays as it is."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "type_params") or isinstance(
            node, (ast.JoinedStr, ast.FormattedValue)
        ):
            continue
        if isinstance(value, list):
            yield from (
                (field, index, child) for index, child in enumerate(value) if isinstance(child, ast.AST)
            )
        elif isinstance(value, ast.AST):
            yield field, None, value


def walk(node):
    """(parent, field, index, child) of all nodes, in the order of the source."""
    for field, index, child in children(node):
        yield node, field, index, child
        yield from walk(child)


def put(parent, field, index, node):
    """Put a node into a field of its parent, or into a place of a list there."""
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def mutants(source):
    """Every mutant of a module: (line, what changes, mutated source), in the order of the source."""
    tree = ast.parse(source)
    line = 1
    for parent, field, index, node in walk(tree):
        line = getattr(node, "lineno", line)
        for other in others(node):
            what = f"{first_line(node)} -> {first_line(other)}"
            put(parent, field, index, other)
            text = ast.unparse(ast.fix_missing_locations(tree))
            put(parent, field, index, node)
            yield line, what, text


def first_line(node):
    """A node in a few words."""
    if isinstance(node, ast.comprehension):
        return " ".join(ast.unparse(node).split())
    return ast.unparse(node).splitlines()[0][:90]
