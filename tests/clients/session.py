"""One client of somebody else's making, in a process of its own: commands go in as lines, answers
and events come out."""

import json
import subprocess
import threading
import time


class Refused(Exception):
    """What the client's library made of an error."""

    def __init__(self, error):
        super().__init__(error.get("message"))
        self.code = error.get("code")
        self.cancelled = error.get("cancelled", False)


class Session:
    """A driver under way."""

    def __init__(self, command, log, deadline):
        self.deadline = deadline
        self.events = []
        self.greeting = None
        self._answers = {}
        self._ended = False
        self._changed = threading.Condition()
        self._number = 0
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            message = json.loads(line)
            with self._changed:
                if "event" in message:
                    self.events.append(message)
                else:
                    self._answers[message["id"]] = message
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def connect(self, **where):
        """Connects, once, before anything else."""
        self.greeting = self.ask("connect", timeout=self.deadline, **where)
        return self.greeting

    def begin(self, op, **arguments):
        """Begins a command; its number."""
        number = self._number
        self._number += 1
        line = json.dumps({"id": number, "op": op, **arguments})
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"the client has ended before {op}") from None
        return number

    def end(self, number, what="answer"):
        """The answer to a command that was begun."""
        self._wait(lambda: number in self._answers, what)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["ok"]

    def ask(self, op, **arguments):
        """A command and its answer."""
        return self.end(self.begin(op, **arguments), op)

    def call(self, name, arguments=None, **more):
        """A tool's result."""
        return self.ask("tools/call", name=name, arguments=arguments or {}, **more)

    def until(self, matches, what):
        """The first event that matches, come or to come."""
        found = []

        def look():
            found.extend(event for event in self.events if matches(event))
            return found

        self._wait(look, what)
        return found[0]

    def _wait(self, met, what):
        last = time.monotonic() + self.deadline
        with self._changed:
            while not met():
                left = last - time.monotonic()
                assert left > 0, f"{what}: nothing within {self.deadline} s"
                assert not self._ended, f"{what}: the client has ended"
                self._changed.wait(left)

    def leave(self):
        """Ends the client as its users would, and waits until it is gone."""
        try:
            self.ask("leave")
            self._process.stdin.close()
            return self._process.wait(self.deadline)
        finally:
            self.kill()

    def kill(self):
        """Ends the process, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
