# SPDX-License-Identifier: MIT
"""The bench's workers in Python; README.md beside this file describes the protocol.

    python -m apps.bench.python_worker PEER FORM FOLDER NAME [KERNEL]

PEER: edge_runtime (FORM ternary); onnxruntime or onnxruntime_spin (IOBinding; idle threads asleep or spinning; FORM
node, node_int8, cell, cell_int8 or null); litert (called with as little Python as can be: one call into the
interpreter, memory moved by address) or litert_plain (its documented interface), FORM f32, int8 or null.
"""

import ctypes
import functools
import gc
import importlib.metadata
import json
import os
import pathlib
import signal
import statistics
import sys
import time


def _status_kb(field, path="/proc/self/status"):
    """A memory figure of this process; 0 where there is no such file."""
    try:
        with open(path, encoding="ascii") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(field)), 0)
    except OSError:
        return 0


def _memory():
    return _status_kb("VmHWM:"), _status_kb("Rss:", "/proc/self/smaps_rollup")


_START_KB = _memory()

import numpy as np  # noqa: E402  (its memory is reported apart)

_NUMPY_KB = _memory()[0]
FRAMES = 100
STREAMS = 8
UNTIMED = 20
SWEEP_BYTES = 64 << 20


class _Files:
    """What a folder of `apps.bench.workloads.write_files` holds."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        shape = json.loads((self.folder / "workload.json").read_text(encoding="ascii"))
        self.states = [(name, size) for name, size in shape["states"]]
        self.name = shape["name"]
        ends = np.cumsum([size for _, size in self.states])
        values = np.split(np.fromfile(self.folder / "states.bin", np.float32), ends[:-1])
        self.initial = {name: value for (name, _), value in zip(self.states, values, strict=False)}
        self.x = np.fromfile(self.folder / "input.bin", np.float32).reshape(FRAMES, -1)

    def reference(self, name):
        return np.fromfile(self.folder / name, np.float32).reshape(FRAMES, -1)


class EdgeRuntimePeer:
    """This runtime through its Python interface."""

    reference = "logits.bin"

    def __init__(self, files, form, kernel=None):
        import edge_runtime

        self.imported = time.perf_counter()
        path = files.folder / "model.ernn"
        self.file_bytes = path.stat().st_size
        self._model = edge_runtime.Model.load(path, kernel)
        self.version = f"edge_runtime {edge_runtime.__version__} {self._model.kernel}, Python"
        self._stream = self._model.stream()
        self._step_many = edge_runtime.Stream.step_many
        self._x = files.x
        self._int8 = None
        self._streams = None

    def reset(self):
        self._stream.reset()

    def step(self, t):
        return self._stream.step(self._x[t])

    def prepare(self):
        self._int8 = self._model.quantize_input(self._x)
        self._streams = [self._model.stream() for _ in range(STREAMS)]

    def step_int8(self, t):
        return self._stream.step_quantized(self._int8[t])

    def step_of(self, stream, t):
        return self._streams[stream].step(self._x[t])

    def step_together(self, t):
        return self._step_many(self._streams, np.repeat(self._x[t : t + 1], STREAMS, axis=0))

    def sequence(self):
        self._stream.reset()
        return self._stream.run(self._x)


class OnnxRuntimePeer:
    """ONNX Runtime; inputs, outputs and states bound once, two sets of states in turn."""

    reference = "ref.bin"
    spinning = "0"

    def __init__(self, files, form, kernel=None):
        import onnxruntime

        self.imported = time.perf_counter()
        self._files = files
        self._form = form
        self._three_axes = form.startswith("node")
        self.version = f"onnxruntime {onnxruntime.__version__}, Python IOBinding"
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = 1
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 3
        self._options.add_session_config_entry("session.intra_op.allow_spinning", self.spinning)
        self._options.add_session_config_entry("session.inter_op.allow_spinning", self.spinning)
        path = files.folder / f"{form}_stream.onnx"
        self.file_bytes = path.stat().st_size
        self._session = self._open(path)
        self._shapes = {output.name: tuple(output.shape) for output in self._session.get_outputs()}
        self._x = np.zeros(self._shape(files.x.shape[1]), np.float32)
        self._row = self._x.reshape(-1)
        self._y = np.zeros(self._shapes["y"], np.float32)
        self._main = self._bound()
        self._streams = None
        self._whole = None
        if form == "null":
            self.sequence = None

    def _open(self, path):
        import onnxruntime

        return onnxruntime.InferenceSession(os.fspath(path), self._options, ["CPUExecutionProvider"])

    def _shape(self, size):
        return (1, 1, size) if self._three_axes else (1, size)

    def _bound(self):
        """[next binding, the other, arrays of states] of a new stream."""
        sets = [
            {name: np.zeros(self._shape(size), np.float32) for name, size in self._files.states}
            for _ in range(2)
        ]
        bindings = []
        for before, after in (sets, sets[::-1]):
            binding = self._session.io_binding()
            places = [(binding.bind_input, "x", self._x), (binding.bind_output, "y", self._y)]
            places += [(binding.bind_input, name, array) for name, array in before.items()]
            places += [(binding.bind_output, f"{name}_out", array) for name, array in after.items()]
            for bind, name, array in places:
                bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
            bindings.append(binding)
        return [*bindings, sets]

    def reset(self):
        for states in self._main[2]:
            for name, array in states.items():
                array.reshape(-1)[:] = self._files.initial[name]

    def _advance(self, stream, t):
        self._row[:] = self._files.x[t]
        self._session.run_with_iobinding(stream[0])
        stream[0], stream[1] = stream[1], stream[0]
        return self._y

    def step(self, t):
        return self._advance(self._main, t)

    def prepare(self):
        self._streams = [self._bound() for _ in range(STREAMS)]

    def step_of(self, stream, t):
        return self._advance(self._streams[stream], t)

    def sequence(self):
        if self._whole is None:
            session = self._open(self._files.folder / f"{self._form}_seq.onnx")
            feed = {
                name: self._files.initial[name].reshape(self._shape(size))
                for name, size in self._files.states
            }
            feed["x"] = self._files.x.reshape(FRAMES, 1, -1)
            self._whole = (session, feed)
        session, feed = self._whole
        return session.run(["y"], feed)[0]


class SpinningOnnxRuntimePeer(OnnxRuntimePeer):
    """Idle threads spin: the library's default."""

    spinning = "1"


class LiteRtPlainPeer:
    """LiteRT through its documented Python interface."""

    reference = "ref.bin"
    sequence = None

    def __init__(self, files, form, kernel=None):
        from ai_edge_litert.interpreter import Interpreter

        self.imported = time.perf_counter()
        self.version = f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}, Python"
        path = files.folder / f"litert_{form}.tflite"
        self.file_bytes = path.stat().st_size
        self._x = files.x
        self._states = files.states
        interpreter = self._interpreter = Interpreter(os.fspath(path), num_threads=1)
        interpreter.allocate_tensors()
        self._in = {d["name"]: d["index"] for d in interpreter.get_input_details()}
        self._out = {d["name"]: d["index"] for d in interpreter.get_output_details()}
        # Without a dense layer the output is the last layer's state.
        last = [name for name, _ in files.states if name.startswith("h")][-1]
        self._y = self._out.get("y", self._out[f"{last}_out"])
        self._kept = [
            {name: np.zeros((1, size), np.float32) for name, size in files.states} for _ in range(STREAMS)
        ]
        self.reset()

    def reset(self):
        for name, size in self._states:
            self._interpreter.set_tensor(self._in[name], np.zeros((1, size), np.float32))

    def prepare(self):
        pass

    def step(self, t):
        interpreter = self._interpreter
        interpreter.set_tensor(self._in["x"], self._x[t : t + 1])
        interpreter.invoke()
        for name, _ in self._states:
            interpreter.set_tensor(self._in[name], interpreter.get_tensor(self._out[f"{name}_out"]))
        return interpreter.get_tensor(self._y)

    def step_of(self, stream, t):
        interpreter = self._interpreter
        kept = self._kept[stream]
        interpreter.set_tensor(self._in["x"], self._x[t : t + 1])
        for name, _ in self._states:
            interpreter.set_tensor(self._in[name], kept[name])
        interpreter.invoke()
        for name, _ in self._states:
            kept[name] = interpreter.get_tensor(self._out[f"{name}_out"])
        return interpreter.get_tensor(self._y)


class LiteRtPeer(LiteRtPlainPeer):
    """LiteRT with next to no Python: close to what a caller in C pays."""

    def __init__(self, files, form, kernel=None):
        super().__init__(files, form, kernel)
        self.version += ", direct calls"

        def address(index):
            return self._interpreter.tensor(index)().ctypes.data

        self._move = ctypes.memmove
        self._invoke = self._interpreter._interpreter.Invoke
        self._x_to, self._x_bytes = address(self._in["x"]), self._x.shape[1] * 4
        self._x_from = [self._x[t].ctypes.data for t in range(FRAMES)]
        self._carry = [
            (address(self._in[name]), address(self._out[f"{name}_out"]), 4 * size)
            for name, size in self._states
        ]
        self._of_stream = [
            [
                (kept[name].ctypes.data, *carry)
                for (name, _), carry in zip(self._states, self._carry, strict=True)
            ]
            for kept in self._kept
        ]
        self.wants_output = True

    def step(self, t):
        move = self._move
        move(self._x_to, self._x_from[t], self._x_bytes)
        self._invoke()
        for to, source, size in self._carry:
            move(to, source, size)
        # While steps are timed the output stays where a C caller would read it.
        return self._interpreter.get_tensor(self._y) if self.wants_output else None

    def prepare(self):
        self.wants_output = False

    def step_of(self, stream, t):
        move = self._move
        move(self._x_to, self._x_from[t], self._x_bytes)
        for kept, to, _, size in self._of_stream[stream]:
            move(to, kept, size)
        self._invoke()
        for kept, _, source, size in self._of_stream[stream]:
            move(kept, source, size)


PEERS = {
    "edge_runtime": EdgeRuntimePeer,
    "onnxruntime": OnnxRuntimePeer,
    "onnxruntime_spin": SpinningOnnxRuntimePeer,
    "litert": LiteRtPeer,
    "litert_plain": LiteRtPlainPeer,
}


# ---------------------------------------------------------------------------------------- commands


def _timed(call, count, before=None, scale=1e-3):
    """Microseconds of each of `count` calls ``call(i % FRAMES)``; before: called untimed each time."""
    clock = time.perf_counter_ns
    times = [0] * count
    for i in range(count):
        if before is not None:
            before()
        t = i % FRAMES
        start = clock()
        call(t)
        times[i] = clock() - start
    return [round(v * scale, 4) for v in times]


@functools.cache
def _sweep_buffer():
    return np.ones(SWEEP_BYTES, np.uint8)


def _sweep():
    """Change every byte of a large buffer, so that nothing of the step is left in the caches."""
    buffer = _sweep_buffer()
    np.add(buffer, 1, out=buffer)


def _stream(step, count):
    for i in range(UNTIMED):
        step(i)
    return _timed(step, count)


def _in_turn(peer, count):
    def round_of(t):
        for stream in range(STREAMS):
            peer.step_of(stream, t)

    return _together(round_of, count)


def _together(step, count):
    for t in range(3):
        step(t)
    return _timed(step, count, scale=1e-3 / STREAMS)


def _sequence(peer, reference, count):
    if peer.sequence is None:
        return None
    y = peer.sequence()
    error = float(np.abs(np.asarray(y).reshape(reference.shape) - reference).max())
    return {"us": _timed(lambda t: peer.sequence(), count), "maxerr": error}


def _live(step, count, period_us):
    """Steps at the pace of a live signal, as worker_live in worker.h."""
    for i in range(UNTIMED):
        step(i % FRAMES)
    period_s = period_us * 1e-6
    times = []
    late = 0
    cpu = time.process_time()
    begin = time.perf_counter()
    for i in range(count + 1):
        time.sleep(max(0.0, begin + i * period_s - time.perf_counter()))
        if i == count:  # a pool that spins goes on after the last step
            break
        start = time.perf_counter()
        step(i % FRAMES)
        end = time.perf_counter()
        times.append(round((end - start) * 1e6, 4))
        late += end > begin + (i + 1) * period_s
    spent, wall = time.process_time() - cpu, time.perf_counter() - begin
    return {"cpu_us": spent * 1e6, "wall_us": wall * 1e6, "late": late, "us": times}


def _mark(step, count):
    for i in range(-3, count):
        signal.raise_signal(signal.SIGUSR2)
        if i >= 0:
            step(i % FRAMES)
        signal.raise_signal(signal.SIGUSR2)
    return count


def serve(peer, reference, commands, output):
    """Answer commands until quit or the end; a command that the peer lacks is answered null."""
    for line in commands:
        command, count, period_us = (*line.split(), "0", "0")[:3]
        count = int(count)
        answer = None
        if command == "quit":
            return
        if command == "stream":
            answer = _stream(peer.step, count)
        elif command == "int8" and hasattr(peer, "step_int8"):
            answer = _stream(peer.step_int8, count)
        elif command == "cold":
            answer = _timed(peer.step, count, before=_sweep)
        elif command == "streams":
            answer = _in_turn(peer, count)
        elif command == "together" and hasattr(peer, "step_together"):
            answer = _together(peer.step_together, count)
        elif command == "seq":
            answer = _sequence(peer, reference, count)
        elif command == "live":
            answer = _live(peer.step, count, int(period_us))
        elif command == "mark":
            answer = _mark(peer.step, count)
        print(json.dumps(answer), file=output, flush=True)


def main(arguments):
    """Run a worker; returns the exit status."""
    kind, form, folder, name = arguments[:4]
    kernel = arguments[4] if len(arguments) > 4 else None
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    files = _Files(folder)
    start = time.perf_counter()
    peer = PEERS[kind](files, form, kernel)
    peer.step(0)
    loaded = time.perf_counter()
    peer.reset()
    reference = files.reference(peer.reference)
    error = None
    if form != "null":
        outputs = [np.array(peer.step(t), copy=True).reshape(-1) for t in range(FRAMES)]
        error = float(np.abs(np.stack(outputs) - reference).max())
    peak, resident = _memory()
    peer.prepare()
    gc.collect()
    gc.disable()
    ready = {
        "ready": 1,
        "peer": name,
        "workload": files.name,
        "version": peer.version,
        "maxerr": error,
        "load_ms": (loaded - peer.imported) * 1e3,
        "import_ms": (peer.imported - start) * 1e3,
        "rss_stream_kb": peak - _START_KB[0],
        "rss_numpy_kb": _NUMPY_KB - _START_KB[0],
        "rss_now_kb": resident - _START_KB[1],
        "peak_kb": peak,
        "file_bytes": peer.file_bytes,
        "timer_us": statistics.median(_timed(lambda t: None, 1001)),
        "commands": ["stream", "cold", "streams", "live", "mark"]
        + (["seq"] if peer.sequence is not None else [])
        + (["int8"] if hasattr(peer, "step_int8") else [])
        + (["together"] if hasattr(peer, "step_together") else []),
    }
    print(json.dumps(ready), flush=True)
    serve(peer, reference, sys.stdin, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
