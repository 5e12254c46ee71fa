# SPDX-License-Identifier: MIT
"""Who takes part in the bench: for each contender the command of its worker."""

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import sys

import edge_runtime
from apps.bench import native, workloads
from edge_runtime import EdgeRuntimeError, Model

#: ISA words of kernels, slowest first; what the library does not accept is left out.
KERNELS = ("scalar", "avx2", "avx512bw", "avx512", "neon")
_ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Contender:
    """A worker of the run.

    Parameters
    ----------
    name : str
    family : str
        "edge_runtime", "onnxruntime", "litert" or "extra".
    via : str
        Who calls the runtime: "c"; "direct" (Python, cut down to a call and memory moves); "python".
    form : str
        "ternary" (or what the model holds), "f32", "int8"; "null": no network, the price of a call.
    command : tuple of str
    kernel : str or None
        Of this runtime.
    """

    name: str
    family: str
    via: str
    form: str
    command: tuple
    kernel: str | None = None

    @property
    def is_peer(self):
        """bool : whether it is another runtime and computes the network."""
        return self.family != "edge_runtime" and self.form != "null"


def available_kernels(data):
    """Kernels that this library and CPU offer.

    Parameters
    ----------
    data : bytes
        Any model file.

    Returns
    -------
    list of str
    """
    found = []
    for word in KERNELS:
        try:
            Model.from_bytes(data, kernel=word)
        except EdgeRuntimeError:
            continue
        found.append(word)
    return found


def missing_peers():
    """What keeps peers from taking part.

    Returns
    -------
    dict of str to str
        Family to one line that says what to install; empty if all are there.
    """
    needs = {"onnxruntime": ("onnxruntime", "onnx"), "litert": ("ai_edge_litert", "flatbuffers")}
    missing = {}
    for family, modules in needs.items():
        lacking = [name for name in modules if importlib.util.find_spec(name) is None]
        if lacking:
            names = " ".join(name.replace("_", "-") for name in lacking)
            missing[family] = f"{family} takes no part: python -m pip install {names}"
    return missing


def _onnxruntime_library():
    """Path of ONNX Runtime's shared library in its wheel, or None."""
    package = importlib.util.find_spec("onnxruntime")
    if package is None:
        return None
    folder = pathlib.Path(package.submodule_search_locations[0]) / "capi"
    found = sorted(folder.glob("libonnxruntime.so*"))
    return os.fspath(found[0]) if found else None


class Programs:
    """The workers in C, compiled into a folder.

    Parameters
    ----------
    folder : path

    Attributes
    ----------
    peer_worker, onnxruntime_worker, count_instructions : str or None
        Paths; None where it could not be built.
    problems : list of str
    """

    def __init__(self, folder):
        self.problems = []
        self.peer_worker = self._build(native.build_peer_worker, folder)
        self.count_instructions = self._build(native.build_instruction_counter, folder)
        self.onnxruntime_worker = None
        if _onnxruntime_library() is not None:
            self.onnxruntime_worker = self._build(native.build_onnxruntime_worker, folder)

    def _build(self, build, folder):
        try:
            return build(folder)
        except native.BuildError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None


def write_files(workload, folder, families):
    """Write the files of a workload that its contenders read.

    Parameters
    ----------
    workload : apps.bench.workloads.Workload
    folder : path
    families : set of str
        Peers to write files for.
    """
    folder = pathlib.Path(folder)
    weights = workloads.write_files(workload, folder)
    if "onnxruntime" in families:
        from apps.bench import onnx_models

        onnx_models.write_files(workload, workloads.float_network(workload, weights), folder)
    if "litert" in families:
        from apps.bench import litert_models

        litert_models.write_files(workload, weights, folder)


def peer_worker_command(program, folder, workload, kernel=None, name=None):
    """Command of this runtime's worker in C: tuple of str."""
    folder = pathlib.Path(folder).resolve()
    command = [program, folder / "model.ernn", folder / "input.bin", "--reference", folder / "logits.bin"]
    command += ["--workload", workload.name]
    command += ["--kernel", kernel] if kernel else []
    command += ["--name", name] if name else []
    return tuple(map(os.fspath, command))


def _python(peer, form, folder, name, kernel=None):
    command = [sys.executable, "-m", "apps.bench.python_worker", peer, form, os.fspath(folder), name]
    return tuple(command + ([kernel] if kernel else []))


def _onnxruntime(workload, folder, programs, file, form, label, spin=False):
    """ONNX Runtime on FOLDER/FILE_stream.onnx, from C where it could be compiled, and from Python."""
    states = [text for state in workload.states for text in map(str, state)]
    name = f"onnxruntime_{label}"
    if programs.onnxruntime_worker:
        command = (programs.onnxruntime_worker, _onnxruntime_library(), os.fspath(folder), file)
        command += (workload.name, name, "1" if spin else "0", *states)
        yield Contender(name, "onnxruntime", "c", form, command)
    command = _python("onnxruntime_spin" if spin else "onnxruntime", file, folder, f"{name}_python")
    yield Contender(f"{name}_python", "onnxruntime", "python", form, command)


def contenders(workload, folder, kernels, default_kernel, families, programs, spinning=False):
    """The contenders of a workload.

    Parameters
    ----------
    workload : apps.bench.workloads.Workload
    folder : path
        With its files.
    kernels : sequence of str
        This runtime's kernels to run.
    default_kernel : str
        Of `kernels`, the one to run through Python too.
    families : set of str
        Peers that take part.
    programs : Programs
    spinning : bool
        ONNX Runtime also with its idle threads spinning.

    Returns
    -------
    list of Contender
    """
    folder = pathlib.Path(folder).resolve()
    found = []
    if programs.peer_worker:
        for kernel in kernels:
            name = f"edge_runtime_{kernel}"
            command = peer_worker_command(programs.peer_worker, folder, workload, kernel, name)
            found.append(Contender(name, "edge_runtime", "c", "ternary", command, kernel))
    name = f"edge_runtime_{default_kernel}_python"
    command = _python("edge_runtime", "ternary", folder, name, default_kernel)
    found.append(Contender(name, "edge_runtime", "python", "ternary", command, default_kernel))
    if "onnxruntime" in families:
        forms = [("node", "f32", "f32"), ("cell_int8", "int8", "int8"), ("null", "null", "null")]
        if workload.has_lstm:
            forms.append(("node_int8", "int8", "int8_node"))
        for file, form, label in forms:
            found += _onnxruntime(workload, folder, programs, file, form, label)
            if spinning and form != "null":
                found += _onnxruntime(workload, folder, programs, file, form, f"{label}_spin", spin=True)
    if "litert" in families:
        for form in ("f32", "int8", "null"):
            name = f"litert_{form}"
            command = _python("litert", form, folder, name)
            found.append(Contender(name, "litert", "direct", form, command))
            command = _python("litert_plain", form, folder, f"{name}_python")
            found.append(Contender(f"{name}_python", "litert", "python", form, command))
    return found


def read_extra(path):
    """Further contenders from a file: ``[{"name": NAME, "workloads": {"W1": [COMMAND, ...]}}]``.

    Returns
    -------
    dict of str to list of Contender
        By workload.

    Raises
    ------
    ValueError
        The file is not of this form.
    """
    try:
        entries = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        found = {}
        for entry in entries:
            for workload, command in entry["workloads"].items():
                extra = Contender(entry["name"], "extra", "c", "extra", tuple(map(str, command)))
                found.setdefault(workload, []).append(extra)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: expected a list of names and commands per workload: {error!r}") from error
    return found


def environment():
    """Environment of the workers: one thread everywhere, modules of this checkout."""
    path = os.pathsep.join(filter(None, (os.fspath(_ROOT), os.environ.get("PYTHONPATH"))))
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **one, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}


def versions():
    """Versions of what takes part: dict of str to str."""
    found = {"edge_runtime": edge_runtime.__version__}
    for name in ("numpy", "onnxruntime", "ai-edge-litert"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
