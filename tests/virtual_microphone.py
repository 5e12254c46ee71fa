# SPDX-License-Identifier: MIT
"""A microphone without hardware: a PulseAudio daemon of our own in a temporary folder.

What is played into its null sink is heard by the sink's monitor, its only source, which PortAudio and
arecord open as the default input through ALSA's pulse plugin. `Listener` is a process that listens to it.
"""

import contextlib
import ctypes.util
import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import weakref

_START_S = 15.0
_ALSA_PLUGIN = "libasound_module_pcm_pulse.so"


def missing():
    """What this machine lacks for a virtual microphone, or None."""
    for program in ("pulseaudio", "pactl", "paplay", "arecord"):
        if shutil.which(program) is None:
            return f"{program} is missing: sudo apt install pulseaudio pulseaudio-utils alsa-utils"
    folders = [*pathlib.Path("/usr/lib").glob("*/alsa-lib"), pathlib.Path("/usr/lib/alsa-lib")]
    if not any((folder / _ALSA_PLUGIN).exists() for folder in folders):
        return "ALSA's pulse plugin is missing: sudo apt install libasound2-plugins"
    if ctypes.util.find_library("portaudio") is None:
        return "PortAudio is missing: sudo apt install libportaudio2"
    if importlib.util.find_spec("sounddevice") is None:
        return "the package sounddevice is missing: python -m pip install sounddevice"
    return None


class VirtualMicrophone:
    """A running daemon. Context manager.

    Attributes
    ----------
    environment : dict
        For processes that shall hear it, or play into it.
    """

    def __enter__(self):
        self._cleanup = contextlib.ExitStack()
        folder = pathlib.Path(self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mic")))
        run, home = folder / "run", folder / "home"
        for path in (run, home):
            path.mkdir(mode=0o700)
        socket = run / "pulse.sock"
        (folder / "asound.conf").write_text(
            "pcm.!default { type pulse }\nctl.!default { type pulse }\n"
            'pcm.desk { type pulse hint { show on description "Microphone on the desk" } }\n'
        )
        (folder / "alsa.conf").write_text(f"</usr/share/alsa/alsa.conf>\n<{folder}/asound.conf>\n")
        (folder / "pulse.pa").write_text(
            f"load-module module-native-protocol-unix auth-anonymous=1 socket={socket}\n"
        )
        self.environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(run),
            "HOME": str(home),
            "PULSE_SERVER": f"unix:{socket}",
            "ALSA_CONFIG_PATH": str(folder / "alsa.conf"),
        }
        self._log = self._cleanup.enter_context(open(folder / "log", "w+"))
        self._daemon = subprocess.Popen(
            [
                "pulseaudio",
                "-n",
                "-F",
                str(folder / "pulse.pa"),
                "--daemonize=no",
                "--exit-idle-time=-1",
                "--use-pid-file=no",
                "--disable-shm=yes",
                "--log-level=error",
            ],
            env=self.environment,
            stdout=self._log,
            stderr=self._log,
        )
        self._cleanup.callback(self.stop)
        try:
            self._wait()
            self.plug_in()
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *exc_info):
        self._cleanup.close()

    def _wait(self):
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            if self._daemon.poll() is not None:
                break
            if self._pactl("info").returncode == 0:
                return
            time.sleep(0.1)
        self._log.seek(0)
        raise RuntimeError(f"the PulseAudio daemon did not start: {self._log.read()}")

    def _pactl(self, *arguments):
        command = ["pactl", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=20)

    def plug_in(self, rate=16000, channels=1):
        """Let the microphone appear."""
        # norewinds: otherwise the sink buffers two seconds and the start of a recording is lost.
        module = "module-null-sink norewinds=1 sink_name=speaker"
        answer = self._pactl("load-module", *module.split(), f"rate={rate}", f"channels={channels}")
        if answer.returncode != 0:
            raise RuntimeError(f"pactl load-module {module}: {answer.stderr}")

    def unplug(self):
        """Let it vanish; the daemon stays."""
        self._pactl("unload-module", "module-null-sink")

    def mute(self, muted):
        """Mute it, or not."""
        self._pactl("set-source-mute", "@DEFAULT_SOURCE@", str(int(muted)))

    @contextlib.contextmanager
    def unplugged_at_the_end(self):
        """For tests that unplug it: it is there again for the next one."""
        try:
            yield
        finally:
            self.unplug()
            self.plug_in()

    def play(self, path, timeout_s=60):
        """Play a WAV file into the microphone; returns when it is over."""
        subprocess.run(["paplay", str(path)], env=self.environment, check=True, timeout=timeout_s)

    def stop(self):
        """End the daemon, as when the sound server crashes."""
        if self._daemon.poll() is None:
            self._daemon.send_signal(signal.SIGTERM)
            try:
                self._daemon.wait(10)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()


class Listener:
    """A process that listens in the background.

    Parameters
    ----------
    process : subprocess.Popen
        Its outputs are pipes without buffers: a line that is read takes no more than itself out of them.
    limit_s : float
        It is killed after this time, so that nobody waits for its lines forever.
    """

    def __init__(self, process, limit_s=120):
        self.process = process
        weakref.finalize(self, process.kill)  # of a test that failed
        self._watchdog = threading.Timer(limit_s, process.kill)
        self._watchdog.start()

    def wait_for_message(self, text):
        """Read its standard error up to a line with this text; returns the line."""
        while text not in (line := self.process.stderr.readline().decode()):
            assert line, f"it ended without saying {text!r}"
        return line

    def next_line(self):
        """Wait for a line of its standard output."""
        return self.process.stdout.readline().decode()

    def wait(self):
        """Wait for its end; returns the rest of its output."""
        try:
            out, err = self.process.communicate(timeout=60)
        finally:
            self._watchdog.cancel()
            self.process.kill()
        return out.decode(), err.decode()

    def stop(self, how=signal.SIGINT):
        """End it; returns the rest of its output."""
        self.process.send_signal(how)
        return self.wait()
