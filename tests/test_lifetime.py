# SPDX-License-Identifier: MIT
"""Objects of the package across threads, forks, signals, garbage collection and the end of Python.

What could crash runs in a process of its own.
"""

import gc
import os
import pathlib
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from word_models import babble_audio, babble_model, tone_model

import edge_runtime as er
from edge_runtime import _native

TESTS = pathlib.Path(__file__).resolve().parent

#: What the programs below begin with.
PRELUDE = f"""\
import faulthandler, gc, os, signal, sys, threading, time
import numpy as np
faulthandler.enable()
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]
import edge_runtime as er
from word_models import babble_audio, babble_model, tone_model
signal.signal(signal.SIGINT, signal.default_int_handler)
model = er.Model.from_bytes(babble_model())
x = np.random.default_rng(0).standard_normal((50, 78)).astype(np.float32)
def interrupt_inside(name):
    "Send SIGINT to this process when the main thread has been inside a function for a while."
    def work():
        for _ in range(3):
            while sys._current_frames()[threading.main_thread().ident].f_code.co_name != name:
                time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=work, daemon=True).start()
"""


def run_python(program, *arguments, quiet=True, timeout_s=300):
    """Output of a program that is to end well, and to say nothing about what went wrong."""
    result = subprocess.run(
        [sys.executable, "-c", PRELUDE + program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "EDGE_RUNTIME_LIBRARY": str(_native.library_path)},
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == "" or not quiet, result.stderr
    return result.stdout


@pytest.fixture
def model():
    return er.Model.from_bytes(babble_model())


# ----------------------------------------------------------------------------------------------- threads

#: Of each class: how to make an object, and a call of it that takes a while.
BUSY = {
    "Stream": ("model.stream()", "thing.run(np.zeros((2000, 78), np.float32))"),
    "Decoder": ("model.decoder()", "thing.push(np.zeros((20000, 8), np.int16))"),
    "Recognizer": ("model.recognizer()", "thing.accept_waveform(audio)"),
    "Frontend": ("er.Frontend()", "thing.push(audio)"),
    "Resampler": ("er.Resampler(44100)", "thing.push(audio)"),
}

HAMMER = """
audio = babble_audio(2)
thing = {make}
fresh = {make}
expected = {call_fresh}
outcomes = [0, 0]
def work():
    for _ in range(12):
        try:
            {call}
            outcomes[0] += 1
        except RuntimeError as error:
            assert "two threads use one" in str(error), error
            outcomes[1] += 1
        except ValueError as error:
            assert {closing} and "is closed" in str(error), error
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
if {closing}:
    thing.close()
for thread in threads:
    thread.join()
if not {closing}:
    assert sum(outcomes) == 96 and outcomes[0] > 0
    thing.reset()
    found = {call}
    assert np.array_equal(found, expected) if isinstance(found, np.ndarray) else found == expected
"""


@pytest.mark.parametrize("closing", [False, True], ids=["", "closing"])
@pytest.mark.parametrize("name", BUSY)
def test_object_in_eight_threads_at_once(name, closing):
    """Each call works or is refused by name, and nothing is the worse for it afterwards; closing meanwhile too."""
    make, call = BUSY[name]
    program = HAMMER.format(make=make, call=call, call_fresh=call.replace("thing", "fresh"), closing=closing)
    run_python(program)


def test_object_moves_from_thread_to_thread(model):
    x = np.random.default_rng(1).standard_normal((40, 78)).astype(np.float32)
    expected = model.stream().run(x)
    stream, outputs = model.stream(), []
    for start in range(0, 40, 10):
        thread = threading.Thread(target=lambda s=start: outputs.append(stream.run(x[s : s + 10])))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(np.concatenate(outputs), expected)


def test_first_chunks_of_an_open_rate_in_two_threads():
    """One fixes the rate; the recognizer is not replaced under the other."""
    run_python("""
for attempt in range(50):
    recognizer = model.recognizer(None)
    barrier = threading.Barrier(4)
    def work(rate):
        barrier.wait()
        for _ in range(5):
            try:
                recognizer.accept_waveform(np.zeros(rate // 10, np.int16), rate)
            except RuntimeError as error:
                assert "two threads" in str(error)
            except ValueError as error:
                assert "a recognizer hears one rate" in str(error)
    threads = [threading.Thread(target=work, args=(rate,)) for rate in (8000, 16000, 44100, 48000)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert recognizer.sample_rate in (8000, 16000, 44100, 48000)
""")


@pytest.mark.parametrize(
    ("make", "call"),
    [
        ("slow().stream()", "thing.run(np.zeros((500, 8), np.float32))"),
        ("slow().stream()", "thing.run_quantized(np.zeros((500, 8), np.int8))"),
        ("er.Model.default('scalar').recognizer()", "thing.accept_waveform(np.zeros(80000, np.int16))"),
        ("er.Frontend()", "thing.push(np.zeros(10**6, np.int16))"),
        ("er.Resampler(44100)", "thing.push(np.zeros(10**6, np.int16))"),
    ],
)
def test_other_threads_run_meanwhile(make, call):
    """Nobody takes the interpreter lock away by force here: another thread counts on only because it was let go."""
    run_python(
        SLOW
        + f"""
thing = {make}
sys.setswitchinterval(1e6)
counts, state = [0], ["waiting"]
def count():
    while state[0] != "done":
        counts[0] += state[0] == "inside"
        time.sleep(0)
thread = threading.Thread(target=count)
thread.start()
while not counts[0]:  # one call lets it go for a while; a machine may be too busy to use it
    state[0] = "inside"
    {call}
    state[0] = "waiting"
state[0] = "done"
thread.join()
"""
    )


#: A model whose steps take long.
SLOW = """
from random_models import random_layer
from edge_runtime.format import ModelFile
def slow():
    rng = np.random.default_rng(3)
    layers = (
        random_layer(rng, "gru", 8, 1024, "ternary", planes=1, clamp=127, shared_scale=False, input_bits=7),
        random_layer(rng, "dense", 1024, 4, "ternary", planes=1, clamp=127),
    )
    ones = np.ones(8, np.float32)
    return er.Model.from_bytes(ModelFile(ones, 0 * ones, layers).to_bytes(), "scalar")
"""


# --------------------------------------------------------------------------------------------- interrupts


def test_run_ends_on_an_interrupt_after_whole_steps():
    """SIGINT comes while the stream is inside; the state is that after some of the steps, and all goes on."""
    said = run_python(
        SLOW
        + """
model = slow()
x = np.random.default_rng(1).standard_normal((400_000, 8)).astype(np.float32)  # minutes
stream = model.stream()
interrupt_inside("_run")
try:
    stream.run(x)
except KeyboardInterrupt:
    print("interrupted")
fresh, count = model.stream(), 0
while not np.array_equal(fresh.state, stream.state):
    fresh.run(x[count:count + 8])
    count += 8
print(count, "steps")
np.testing.assert_array_equal(stream.run(x[count:count + 50]), fresh.run(x[count:count + 50]))
stream.reset()
np.testing.assert_array_equal(stream.run(x[:50]), model.stream().run(x[:50]))
"""
    )
    assert said.startswith("interrupted")
    assert 0 < int(said.split()[1]) < 400_000


def test_recognition_ends_on_an_interrupt():
    said = run_python("""
model = er.Model.default("scalar")
audio = (32767 * np.tile(babble_audio(10), 180)).astype(np.int16)  # half an hour
recognizer = model.recognizer()
interrupt_inside("push")
try:
    recognizer.accept_waveform(audio)
except KeyboardInterrupt:
    print("interrupted")
recognizer.accept_waveform(audio[:16000])
recognizer.reset()
fresh = model.recognizer()
assert recognizer.accept_waveform(audio[:160000]) == fresh.accept_waveform(audio[:160000])
assert recognizer.finish() == fresh.finish()
print("usable")
""")
    assert said == "interrupted\nusable\n"


def test_interrupts_at_any_moment_leave_everything_usable():
    said = run_python("""
audio, logits = babble_audio(0.5), np.zeros((500, 8), np.int16)
def all_calls(things):
    stream, decoder, recognizer, frontend, resampler = things
    for thing in things:
        thing.reset()
    words = recognizer.accept_waveform(audio)
    return [
        stream.run(x).tobytes(), stream.step(x[0]).tobytes(), stream.state.tobytes(), words, recognizer.finish(),
        decoder.push(logits), decoder.finish(), frontend.push(audio).tobytes(), frontend.flush().tobytes(),
        resampler.push(audio).tobytes(), resampler.flush().tobytes(), recognizer.posteriors.tobytes(),
    ]
def make():
    return [model.stream(), model.decoder(), model.recognizer(threshold=0), er.Frontend(), er.Resampler(8000)]
def interrupt(*_):
    if armed:
        armed.clear()
        raise KeyboardInterrupt
armed = []
signal.signal(signal.SIGALRM, interrupt)
rng = np.random.default_rng(7)
things = make()
expected = all_calls(make())
usual = float("inf")
for _ in range(5):
    start = time.perf_counter()
    all_calls(things)
    usual = min(usual, time.perf_counter() - start)
interrupted = 0
for attempt in range(300):
    try:
        armed.append(True)
        signal.setitimer(signal.ITIMER_REAL, max(1e-6, rng.uniform(0, 1.2 * usual)))
        assert all_calls(things) == expected
        armed *= 0
    except KeyboardInterrupt:
        interrupted += 1
    if attempt % 40 == 0:
        assert all_calls(things) == expected
assert all_calls(things) == expected
print(interrupted)
""")
    assert int(said) > 20


def test_handlers_and_finalizers_may_use_what_they_interrupt():
    """As if called between two parts of the input: no crash, no exception, words in order."""
    run_python("""
recognizer = model.recognizer(threshold=0)
stream = model.stream()
audio = babble_audio(60)
seen = []
def handler(*_):
    seen.append((recognizer.partial, recognizer.posteriors, recognizer.accept_waveform(audio[:3000])))
    stream.step(x[0])
    signal.setitimer(signal.ITIMER_REAL, 0.001)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001)
while len(seen) < 20:
    words = recognizer.accept_waveform(audio)
    stream.run(np.tile(x, (100, 1)))
    assert all(a.heard_s <= b.heard_s for a, b in zip(words, words[1:]))
signal.setitimer(signal.ITIMER_REAL, 0)
class Dying:
    def __init__(self):
        self.cycle = self
    def __del__(self):
        seen.append(recognizer.accept_waveform(audio[:1600]))
        recognizer.reset()
gc.freeze()
gc.set_threshold(20)
for _ in range(20):
    Dying()
    recognizer.accept_waveform(audio[:160000])
recognizer.reset()
assert recognizer.accept_waveform(audio) == model.recognizer(threshold=0).accept_waveform(audio)
""")


# ------------------------------------------------------------------------------------------------- fork


def test_child_process_goes_on_with_its_copies():
    run_python(
        """
audio = babble_audio(4)
stream, recognizer, frontend = model.stream(), model.recognizer(threshold=0), er.Frontend()
def begin(stream, recognizer, frontend):
    return [stream.run(x).tobytes(), recognizer.accept_waveform(audio), frontend.push(audio).tobytes()]
def end(stream, recognizer, frontend):
    return begin(stream, recognizer, frontend) + [recognizer.finish(), frontend.flush().tobytes(), model.metadata]
others = model.stream(), model.recognizer(threshold=0), er.Frontend()
begin(*others)
expected = end(*others)
begin(stream, recognizer, frontend)
child = os.fork()
assert end(stream, recognizer, frontend) == expected
if child == 0:
    del stream, recognizer, frontend
    gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    )


def test_child_of_a_busy_process():
    """What another thread was inside of at the fork is refused in the child; the model serves on."""
    run_python(
        SLOW
        + """
model = slow()
stream = model.stream()
x = np.zeros((300, 8), np.float32)
expected = model.stream().run(x)
going = True
def work():
    while going:
        stream.run(x)
thread = threading.Thread(target=work)
thread.start()
refused = 0
for _ in range(200):
    child = os.fork()
    if child == 0:
        try:
            stream.run(x)
        except RuntimeError as error:
            os._exit(3 if "two threads use one Stream" in str(error) and
                     np.array_equal(model.stream().run(x), expected) else 4)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 3), status
    refused += status == 3
    if refused == 3:
        break
going = False
thread.join()
assert refused
""",
        quiet=False,  # newer Pythons warn of forks beside threads
    )


def test_pool_of_processes_shares_a_model_by_fork():
    said = run_python("""
import multiprocessing
def work(seed):
    return model.stream().run(np.random.default_rng(seed).standard_normal((20, 78)).astype(np.float32)).tobytes()
def fail(_):
    er.Model.from_bytes(b"ERNN")
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, range(8)) == list(map(work, range(8)))
    for call, arguments in ((fail, [1]), (work, [model])):
        try:
            pool.map(call, arguments)
        except (er.FormatError, TypeError) as error:
            print(type(error).__name__)
""")
    assert said == "FormatError\nTypeError\n"


# ------------------------------------------------------------------------------------- garbage and the end


def test_order_of_collection_does_not_matter():
    run_python("""
class Node:
    pass
for _ in range(8):
    node = Node()
    node.me = node
    node.model = er.Model.from_bytes(babble_model())
    node.stream, node.recognizer, node.decoder = node.model.stream(), node.model.recognizer(), node.model.decoder()
    node.stream.run(x)
    stream = node.model.stream()
    del node
    gc.collect()
    stream.run(x)
    er.Model.from_bytes(tone_model())
""")


def test_weak_references():
    model = er.Model.from_bytes(babble_model())
    things = [model, model.stream(), model.decoder(), model.recognizer(), er.Frontend(), er.Resampler(8000)]
    called = []
    references = [weakref.ref(thing, called.append) for thing in things]
    assert all(reference() is thing for reference, thing in zip(references, things, strict=True))
    weakref.finalize(things[1], called.append, "finalized")
    del model, things
    gc.collect()
    assert [reference() for reference in references] == [None] * 6
    assert len(called) == 7


def test_two_models_at_once(model):
    """In turns and in threads, each as if alone."""
    other = er.Model.from_bytes(tone_model())
    x = np.random.default_rng(2).standard_normal((200, 78)).astype(np.float32)
    z = x[:, : other.input_size].copy()
    expected, expected_other = model.stream().run(x), other.stream().run(z)
    one, two = model.stream(), other.stream()
    for i in range(200):
        np.testing.assert_array_equal(one.step(x[i]), expected[i])
        np.testing.assert_array_equal(two.step(z[i]), expected_other[i])
    results = [None] * 8

    def work(i):
        results[i] = other.stream().run(z) if i % 2 else model.stream().run(x)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, result in enumerate(results):
        np.testing.assert_array_equal(result, expected_other if i % 2 else expected)
    audio = babble_audio(1)
    alone = model.recognizer(threshold=0).accept_waveform(audio)
    first, second = model.recognizer(threshold=0), other.recognizer(threshold=0)
    words = []
    for start in range(0, len(audio), 1000):
        words += first.accept_waveform(audio[start : start + 1000])
        second.accept_waveform(audio[start : start + 1000])
    assert words == alone


END = {
    "live objects": "keep = everything()",
    "in a cycle": "class C: pass\nc = C(); c.c = c; c.keep = everything()",
    "in builtins": "import builtins; builtins.keep = everything()",
    "in sys": "sys.keep = everything()",
    "in a thread's frame": """
def wait(keep):
    time.sleep(1000)
threading.Thread(target=wait, args=(everything(),), daemon=True).start()""",
    "at exit": "import atexit; keep = everything(); atexit.register(use, keep)",
    "in finalizers": """
class Last:
    def __init__(self): self.keep = everything()
    def __del__(self): use(self.keep)
last = Last()""",
    "threads inside": """
def work(stream):
    while True:
        try:
            stream.run(np.zeros((2000, 78), np.float32))
        except RuntimeError:  # the main thread was inside
            pass
streams = [model.stream() for _ in range(4)]
for stream in streams:
    threading.Thread(target=work, args=(stream,), daemon=True).start()
while True:  # until one is inside
    try:
        streams[0].state
    except RuntimeError:
        break""",
    "threads that end by themselves": """
for _ in range(4):
    threading.Thread(target=lambda: use(everything())).start()""",
    "an exception": "keep = everything(); sys.excepthook = lambda *_: print('raised'); raise SystemExit(0)",
    "the package purged": """
keep = [thing._handle for thing in everything()]
for name in [name for name in sys.modules if name.startswith("edge_runtime")]:
    sys.modules.pop(name).__dict__.clear()
del er, model, everything, use
gc.collect()
del keep
gc.collect()
import edge_runtime as er
er.Model.from_bytes(babble_model()).stream()""",
}


@pytest.mark.parametrize("what", END)
def test_end_of_python(what):
    run_python(f"""
def everything():
    return [model, model.stream(), model.recognizer(), model.decoder(), er.Frontend(), er.Resampler(44100)]
def use(things):
    things[1].run(x), things[2].accept_waveform(np.zeros(1600, np.int16)), things[4].push(np.zeros(1600, np.int16))
{END[what]}
""")
