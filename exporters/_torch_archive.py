# SPDX-License-Identifier: MIT
"""Reading a program of torch.export.save that may come from anybody: nothing in it is run.

torch.export.load unpickles whatever a file holds where tensors are due, evaluates strings where sizes are due, looks up
any function of torch where an operator is due, and loads compiled code. So the archive is checked first: the names of its
members, its operators and its expressions must be of kinds that networks need; and unpickling is kept to tensors.
"""

import contextlib
import json
import os
import re
import threading
import warnings
import zipfile

import torch

from exporters.graph import ImportRefusedError

_MEMBERS = re.compile(
    r"archive_format|archive_version|version|byteorder|\.data/\w+|models/\w+\.json|data/weights/\w+(\.json)?"
    r"|data/constants/(tensor_\w+|\w+\.json)|data/sample_inputs/\w+\.pt|serialized_\w+\.(json|pt)|extra_files/.*"
)
_OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|higher_order)\.[\w.]+|_operator\.\w+|math\.\w+|torch\.sym_\w+"
)
_TOKENS = re.compile(r"[A-Za-z_]\w*|'[a-z]+\d+'|\d+(\.\d+)?|[-+*/%(), <>=&|~]")
_NAMES = re.compile(r"[a-z]+\d+")  # of sizes
_FUNCTIONS = frozenset(  # of sizes, and how sympy writes them down
    "Abs Add And CeilDiv CeilToInt CleanDiv Eq Float FloatPow FloatTrueDiv FloorDiv FloorToInt Ge Gt Identity IntTrueDiv"
    " Integer LShift Le Lt Max Min Mod ModularIndexing Mul Ne Not Or PowByNatural PythonMod RShift Rational RoundDecimal"
    " RoundToInt Symbol ToFloat TruncToFloat TruncToInt Where ceiling floor int_oo oo True False integer nonnegative"
    " positive".split()
)
_LONGEST_EXPRESSION = 500
_LARGEST_JSON = 1 << 27

_lock = threading.Lock()


def load_program(path):
    """Read an exported program.

    Parameters
    ----------
    path : path
        A ZIP archive.

    Returns
    -------
    torch.export.ExportedProgram

    Raises
    ------
    ImportRefusedError
        What is in it is not needed by networks, or cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            _check_member(archive, member)
    with warnings.catch_warnings(), _tensors_only():
        warnings.simplefilter("ignore")
        program = torch.export.load(path)
    if hasattr(program, "_guards_code"):  # Python text, for a module that checks its inputs
        program._guards_code = []
    return program


def _check_member(archive, member):
    name = member.filename
    if not (
        _MEMBERS.fullmatch(name) or _MEMBERS.fullmatch(name.partition("/")[2])
    ):  # a folder of any name in front
        raise ImportRefusedError(
            f"an exported program that holds more than tensors and a graph: {member.filename!r}"
        )
    if name.endswith(".json"):
        if member.file_size > _LARGEST_JSON:
            raise ImportRefusedError(f"{member.filename!r}: expected at most {_LARGEST_JSON} bytes")
        _check(json.loads(archive.read(member)))


def _check(value):
    """Walk through what JSON tells of the graph, without recursion: it may be nested deep."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if isinstance(value.get("expr_str"), str):
                _check_expression(value["expr_str"])
            target = value.get("target")
            # In a node; elsewhere the name of a tensor.
            if (
                isinstance(target, str)
                and "inputs" in value
                and (not _OPERATORS.fullmatch(target) or "__" in target)
            ):
                raise ImportRefusedError(f"an exported program with the operator {target[:100]!r}")
            left += value.values()
        elif isinstance(value, list):
            left += value


def _check_expression(text):
    place = 0
    while place < len(text) <= _LONGEST_EXPRESSION and "**" not in text:
        token = _TOKENS.match(text, place)
        if token is None:
            break
        name = token[0]
        if name.isidentifier() and name not in _FUNCTIONS and not _NAMES.fullmatch(name):
            break
        place = token.end()
    else:
        if place == len(text):
            return
    raise ImportRefusedError(f"an exported program with the size {text[:100]!r}")


@contextlib.contextmanager
def _tensors_only():
    """torch.load unpickles tensors and plain values only, whatever its caller asks for."""
    wanted = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0"}
    with _lock:
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
