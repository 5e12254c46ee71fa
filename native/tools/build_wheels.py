# SPDX-License-Identifier: MIT
"""The source distribution and a wheel for each processor, the same bytes from the same sources: `make wheels`.

The source distribution holds what git tracks, as it is in the checkout; the wheels are built from it, so that nothing
else gets in, by the presets of native/CMakePresets.json with zig. The files take their places in dist/ by renaming
when all are made. Needs scikit-build-core, cmake, ninja and ziglang (the Makefile names the versions).
"""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

#: Preset to platform tags. A 32-bit ARM tag of manylinux would promise more than its least processor.
PLATFORMS = {
    "x86_64": ("manylinux_2_17_x86_64", "manylinux2014_x86_64"),
    "aarch64": ("manylinux_2_17_aarch64", "manylinux2014_aarch64"),
    "armv7l": ("linux_armv7l",),
    "armv6l": ("linux_armv6l",),
}

#: What would change the outcome from outside.
FOREIGN = (
    "CC",
    "CFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "CMAKE_ARGS",
    "CMAKE_GENERATOR",
    "ER_ZIG_TARGET",
    "ER_ZIG_CPU",
)

#: Runs a hook of the build backend in the current folder: name, folder of the outcome, settings.
HOOK = (
    "import sys; from scikit_build_core import build; "
    "getattr(build, sys.argv[1])(sys.argv[2], dict(s.split('=', 1) for s in sys.argv[3:]))"
)


def run(command, folder, environment=None):
    """Output of a command in a folder, as str; RuntimeError with what it said if it fails."""
    result = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True
    )
    if result.returncode != 0:
        raise RuntimeError(
            f"{result.stdout}{result.stderr}build_wheels: failed: {' '.join(map(str, command))}"
        )
    return result.stdout


def zig():
    """Path of the program zig; ends the program if it is not installed."""
    try:
        import ziglang
    except ImportError:
        sys.exit("build_wheels: ziglang is not installed; run `make wheels`, or `pip install ziglang`")
    return pathlib.Path(ziglang.__file__).parent / "zig"


def source_date():
    """Seconds since 1970 that all files are dated with, as str: SOURCE_DATE_EPOCH, else of the commit, else of the
    unpacked source distribution."""
    if os.environ.get("SOURCE_DATE_EPOCH"):
        return os.environ["SOURCE_DATE_EPOCH"]
    if (ROOT / ".git").exists():
        return run(["git", "log", "-1", "--format=%ct"], ROOT).strip()
    return str(int((ROOT / "pyproject.toml").stat().st_mtime))


def copy_tracked(folder):
    """Copy what git tracks, as it is in the checkout, or all of an unpacked source distribution."""
    if not (ROOT / ".git").exists():
        made = shutil.ignore_patterns("build", "dist", ".venv*", "__pycache__", "PKG-INFO")
        shutil.copytree(ROOT, folder, ignore=made)
        return
    for name in run(["git", "ls-files", "-z"], ROOT).split("\0"):
        if name and (ROOT / name).exists():  # not those removed and not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def build(out, presets):
    """Build the source distribution and the wheels of presets into `out`, a folder of its own.

    Returns
    -------
    list of pathlib.Path
        The files made, in the folder `out`.
    """
    environment = {k: v for k, v in os.environ.items() if k not in FOREIGN and not k.startswith("SKBUILD_")}
    environment |= {"SOURCE_DATE_EPOCH": source_date(), "ER_ZIG": str(zig())}
    python = [sys.executable, "-c", HOOK]

    tracked, made, unpacked = (out / name for name in ("tracked", "made", "unpacked"))
    copy_tracked(tracked)
    run([*python, "build_sdist", made], tracked, environment)
    (archive,) = made.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()

    def wheel(preset):
        tags = ";".join(f"py3-none-{platform}" for platform in PLATFORMS[preset])
        settings = [f"wheel.tags={tags}", f"cmake.args=--preset={preset}", f"build-dir={out / preset}"]
        run([*python, "build_wheel", made, *settings], source, environment)

    with concurrent.futures.ThreadPoolExecutor(len(presets)) as pool:
        list(pool.map(wheel, presets))
    return sorted(made.iterdir())


def main():
    parser = argparse.ArgumentParser(prog="build_wheels", description=__doc__.splitlines()[0])
    parser.add_argument(
        "-o", dest="folder", type=pathlib.Path, default=ROOT / "dist", help="where to (default: dist)"
    )
    parser.add_argument(
        "presets", nargs="*", metavar="PRESET", help=f"of {', '.join(PLATFORMS)} (default: all)"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.presets) - set(PLATFORMS)
    if unknown:
        parser.error(f"no such preset: {unknown.pop()}; there are {', '.join(PLATFORMS)}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    # Beside their places: renaming does not cross file systems.
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix=".building-") as out:
        try:
            paths = build(pathlib.Path(out).resolve(), arguments.presets or list(PLATFORMS))
        except RuntimeError as error:
            sys.exit(str(error))
        for path in paths:
            print(path.replace(arguments.folder / path.name))


if __name__ == "__main__":
    main()
