# SPDX-License-Identifier: MIT
"""What the fuzz targets in Python share: atheris, which brings libFuzzer and its options, and replaying without it.

    python tests/fuzz/fuzz_TARGET.py [-max_total_time=60 ...] CORPUS     a folder; seeds are put into an empty one
    python tests/fuzz/fuzz_TARGET.py --replay N FILE ...                 each once, then N changes of them; without atheris

A target has `check(data)`, which raises for a finding, `mutate(data, rng, mutate_bytes)`, a change of an input that
knows its structure, and `seeds()`, inputs to begin with by name.
"""

import contextlib
import hashlib
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

REPLAY = "--replay"


def instrumented(*packages):
    """A context in which to import what is fuzzed, so that its branches are seen."""
    if __name__ == "__main__" or REPLAY in sys.argv or not is_target(sys.argv[0]):
        return contextlib.nullcontext()
    import atheris

    return atheris.instrument_imports(include=list(packages))


def is_target(path):
    """Whether a path is that of a fuzz target in Python."""
    return pathlib.Path(path).name.startswith("fuzz_")


def main(check, mutate, seeds):
    """Run a target with the arguments of the command line."""
    if sys.argv[1:2] == [REPLAY]:
        replay(check, mutate, seeds, int(sys.argv[2]), sys.argv[3:])
        return
    import atheris

    corpus = next((pathlib.Path(a) for a in sys.argv[1:] if not a.startswith("-")), None)
    if corpus is not None and not any(corpus.iterdir()):
        for name, data in seeds():
            (corpus / name).write_bytes(data)

    def custom_mutator(data, max_size, seed):
        rng = random.Random(seed)
        if rng.random() < 0.1:
            return atheris.Mutate(data, len(data))[:max_size]
        changed = mutate(bytes(data), rng, lambda part: atheris.Mutate(part, len(part) + 16))
        return changed if len(changed) <= max_size else atheris.Mutate(data, len(data))

    atheris.Setup(sys.argv, check, custom_mutator=custom_mutator)
    atheris.Fuzz()


def replay(check, mutate, seeds, rounds, paths):
    """Check files and seeds, then changes of them; a finding is written to ./finding first."""
    rng = random.Random(1)
    inputs = [pathlib.Path(path).read_bytes() for path in paths] + [data for _, data in seeds()]
    tried = list(inputs)
    for _ in range(rounds):
        data = rng.choice(inputs)
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = mutate(data, rng, lambda part: change_bytes(part, rng))
        tried.append(data)
    for data in tried:
        try:
            check(data)
        except Exception:
            pathlib.Path("finding").write_bytes(data)
            raise
    print(f"{len(inputs)} files, {rounds} changes of them")


def change_bytes(data, rng):
    """Some bytes set, left out or put in."""
    data = bytearray(data or b"\0")
    at = rng.randrange(len(data))
    how = rng.randrange(3)
    if how == 0:
        data[at] = rng.randrange(256)
    elif how == 1:
        del data[at : at + rng.choice((1, 4, 50))]
    else:
        data[at:at] = rng.randbytes(rng.choice((1, 4, 50)))
    return bytes(data)


def seed_of(data):
    """A number drawn from the input: the same input does the same again."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little")
