"""The backplane that clients meet, and the servers behind it."""

import base64
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

USER = "user@example.com"


def within(seconds, met, what):
    """Waits until something is so; what it was."""
    last = time.monotonic() + seconds
    while not (found := met()):
        assert time.monotonic() < last, f"{what}: not within {seconds} s"
        time.sleep(0.05)
    return found


class Server:
    """A program that listens and says on standard error where."""

    def __init__(self, name, command, home, env=None):
        self.name = name
        self._command = command
        self._env = {**os.environ, **(env or {})}
        self._log = home / f"{name}.log"
        self.port = 0
        self.process = None

    def start(self, deadline):
        """Starts it, where it was before if it has been."""
        # One server takes its port as an argument, the others as a variable.
        command = [part.replace("{port}", str(self.port)) for part in self._command]
        env = {**self._env, "PORT": str(self.port)}
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)

        def told():
            assert self.process.poll() is None, f"{self.name} did not start: see {self._log}"
            return re.search(r"listening on 127\.0\.0\.1:(\d+)", self._log.read_text())

        self.port = int(within(deadline, told, f"{self.name} listens")[1])

    def kill(self):
        """Kills it, without a chance to say goodbye."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


class Backplane:
    """`cortex up` on free ports."""

    def __init__(self, cortex, home, deadline, settings):
        self.cortex, self.home, self.deadline = cortex, home, deadline
        self.data = home / "data"
        own = {name: value for name, value in os.environ.items() if is_foreign(name)}
        self.env = {**own, "CORTEX_DATA_DIR": str(self.data)}
        said = home / "up.out"
        with open(said, "wb") as out, open(home / "up.log", "wb") as log:
            self.process = subprocess.Popen(
                [cortex, "up", "--port=0", "--memory-port=0", "--cognition-port=0"],
                env={**self.env, **settings}, stdout=out, stderr=log,
            )

        def ready():
            assert self.process.poll() is None, f"cortex up ended: see {home / 'up.log'}"
            found = dict(re.findall(r"^  (core|memory|cognition) +(http://\S+)$", said.read_text(), re.M))
            return found if len(found) == 3 and "cortex status" in said.read_text() else None

        self.urls = within(deadline, ready, "cortex up is ready")
        self.token = self.run("token", "--user", USER).strip()
        body = self.token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        self.user = claims["oid"]

    def run(self, *words):
        """A command of `cortex`; what it prints."""
        ran = subprocess.run(
            [self.cortex, *words], env=self.env, capture_output=True, text=True,
            timeout=self.deadline,
        )
        assert ran.returncode == 0, f"cortex {' '.join(words)}: {ran.stderr.strip()}"
        return ran.stdout

    def add(self, name, *words):
        """Adds an upstream."""
        self.run("upstream", "add", name, "--core", self.urls["core"], *words)

    def processes(self):
        """Everything below it: process ids with the times of their starts."""
        found, new = {}, [self.process.pid]
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                # The name in brackets may hold anything.
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append((int(stat.parent.name), fields[19]))
        while new:
            for pid, began in parents.get(new.pop(), []):
                found[pid] = began
                new.append(pid)
        return found

    def child(self, *words):
        """The process below it whose command line has all these words."""
        for pid in self.processes():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if all(word in line for word in words):
                return pid
        return None

    def stop(self):
        """Ends it as an operator does; nothing may be left of it."""
        before = self.processes()
        self.process.terminate()
        code = self.process.wait(self.deadline)
        assert code == 0, f"cortex up ended with {code}"
        within(self.deadline, lambda: not [pid for pid in before if lives(pid, before[pid])],
               "all processes are gone")

    def kill(self):
        """Ends it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def is_foreign(name):
    """Whether a variable of the environment is none of ours."""
    return not name.startswith(("CORTEX_", "MCP_", "GATEWAY_", "UPSTREAM", "JWT_", "DATABASE_"))


def lives(pid, began):
    """Whether a process runs, and is still that one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[19] == began
