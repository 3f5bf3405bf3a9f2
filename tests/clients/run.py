"""Runs other people's clients against a backplane of its own, and other people's servers behind it.

    run.py HOME CORTEX

HOME has what `.ci/clients` installs; CORTEX is the program. Prints a table; exit code 1 if anything
failed."""

import json
import os
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import behind
import checks
import faults
import inspector
from session import Refused, Session
from stage import Backplane, Server

HERE = Path(__file__).resolve().parent
# Time for any one thing to happen, in seconds.
DEADLINE = float(os.environ.get("CLIENTS_DEADLINE", "60"))
# Clients under way at once.
CLIENTS_AT_ONCE = int(os.environ.get("CLIENTS_AT_ONCE", "3"))
# The clients, and what they can speak: the era, and whether it is 2026-07-28.
CLIENTS = {
    "python_2": [("auto", True), ("legacy", False)],
    "python_1": [("legacy", False)],
    "javascript_2": [("modern", True), ("legacy", False)],
    "javascript_1": [("legacy", False)],
}
TITLES = {"python_2": "Python SDK", "python_1": "Python SDK",
          "javascript_2": "TypeScript SDK", "javascript_1": "TypeScript SDK"}
# Settings that make what is waited for come sooner.
SETTINGS = {"UPSTREAM_BREAKER_RESET_TIMEOUT": "1"}


class Report:
    """What passed and what failed."""

    def __init__(self):
        self.rows = []
        self._lock = threading.Lock()

    def row(self, client, version, era, endpoint, tasks, expected=()):
        """Runs tasks, each a name and a function, and notes how they ended. Those of `expected`
        must fail."""
        passed, failed, known = [], [], []
        for name, task in tasks:
            began = time.monotonic()
            try:
                if name in expected:
                    must_fail(task)
                    known.append(name)
                else:
                    task()
                    passed.append(name)
            except (AssertionError, Refused, KeyError, IndexError, StopIteration,
                    TypeError, ValueError, subprocess.SubprocessError) as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                failed.append((name, f"{type(error).__name__}: {error} "
                               f"({Path(where.filename).name}:{where.lineno}, "
                               f"{time.monotonic() - began:.1f} s)"))
        with self._lock:
            self.rows.append((client, version, era, endpoint, passed, failed, known))
            marks = f"{len(passed)} of {len(passed) + len(failed)}"
            print(f"{client:<15} {version:<10} {era:<7} {endpoint:<13} {marks:>8}  "
                  f"{'passed' if not failed else 'FAILED'}"
                  f"{f', {len(known)} not, as expected' if known else ''}", flush=True)
            for name, why in failed:
                print(f"    {name}: {why}", flush=True)

    def end(self):
        """The sum, and the exit code."""
        passed = sum(len(row[4]) for row in self.rows)
        failed = sum(len(row[5]) for row in self.rows)
        known = sum(len(row[6]) for row in self.rows)
        print(f"{passed} checks passed, {failed} failed, {known} failed as expected")
        return 1 if failed else 0


def must_fail(task):
    """What is known to fail."""
    try:
        task()
    except AssertionError:
        return
    raise AssertionError("it passes: it is to be expected no longer")


class Clients:
    """Starts drivers."""

    def __init__(self, home, backplane):
        self.home, self.backplane = home, backplane
        self.node = subprocess.run(["bash", "-c", "command -v node"], check=True, text=True,
                                   capture_output=True).stdout.strip()
        self.log = open(home / "drivers.log", "wb")

    def version(self, client):
        """Which version of a client's library is installed."""
        if client.startswith("python"):
            ask = "import importlib.metadata as m; print(m.version('mcp'))"
            return subprocess.run([self.python(client), "-c", ask], check=True, text=True,
                                  capture_output=True).stdout.strip()
        return self.package("client" if client == "javascript_2" else "sdk")

    def package(self, name):
        """Which version of one of the protocol's packages is installed."""
        path = self.home / "node_modules/@modelcontextprotocol" / name / "package.json"
        return json.loads(path.read_text())["version"]

    def python(self, name):
        """An interpreter with the packages of that name."""
        return str(self.home / name / "bin/python")

    def start(self, client):
        """A driver that has not connected yet."""
        if client.startswith("python"):
            command = [self.python(client), str(HERE / f"drivers/{client}.py")]
        else:
            # Beside the packages, where its imports find them.
            command = [self.node, str(self.home / f"drivers/{client}.mjs")]
        return Session(command, self.log, DEADLINE)

    def meet(self, client, era, url=None, token=None, command=None):
        """A driver that has connected: to a URL, or to a command's input and output."""
        session = self.start(client)
        where = {"command": command, "env": self.backplane.env} if command else {
            "url": url, "token": token or self.backplane.token}
        try:
            session.connect(era=era, **where)
        except BaseException:
            session.kill()
            raise
        return session


def own_endpoints(clients, report, client, era, modern):
    """A client at each of our endpoints."""
    plane, version = clients.backplane, clients.version(client)
    for endpoint in ("memory", "cognition", "core", "core, stdio"):
        opened = []

        def connect(endpoint=endpoint, opened=opened):
            if endpoint == "core, stdio":
                url = f"{plane.urls['core']}/mcp"
                command = [plane.cortex, "mcp", "--stdio", "--url", url]
                opened.append(clients.meet(client, era, command=command))
            else:
                opened.append(clients.meet(client, era, url=f"{plane.urls[endpoint]}/mcp"))

        def check(one, endpoint=endpoint, opened=opened):
            assert opened, "not connected"
            one(checks.Meeting(opened[0], endpoint, modern, plane.user))

        def leave(opened=opened):
            assert opened, "not connected"
            code = opened.pop().leave()
            assert code == 0, f"the client ended with {code}"

        tasks = [("connects", connect)]
        tasks += [(one.__name__, lambda one=one: check(one)) for one in checks.at(endpoint)]
        tasks += [("leaves", leave)]
        report.row(TITLES[client], version, era, endpoint, tasks)
    report.row(TITLES[client], version, era, "a wrong token",
               [("is_shown_the_door", lambda: shown_the_door(clients, client, era))])


def shown_the_door(clients, client, era):
    """A wrong token: 401, and where to get a right one."""
    session = clients.start(client)
    url = clients.backplane.urls["core"]
    try:
        session.connect(era=era, url=f"{url}/mcp", token="wrong")
    except Refused:
        challenge = session.until(lambda event: event["event"] == "refused", "401")["challenge"]
        assert f'resource_metadata="{url}/.well-known/' in challenge, challenge
        with urllib.request.urlopen(challenge.split('resource_metadata="')[1].split('"')[0],
                                    timeout=DEADLINE) as answer:
            assert json.load(answer)["resource"] == f"{url}/mcp"
    else:
        raise AssertionError("was let in")
    finally:
        session.kill()


def others_behind(clients, report, client, era):
    """A client with everything behind core."""
    opened = []
    url = f"{clients.backplane.urls['core']}/mcp"
    tasks = [("connects", lambda: opened.append(clients.meet(client, era, url=url)))]

    def check(one):
        assert opened, "not connected"
        one(opened[0])

    tasks += [(one.__name__, lambda one=one: check(one)) for one in behind.ALL]
    tasks += [("leaves", lambda: check(lambda session: session.leave()))]
    report.row(TITLES[client], clients.version(client), era, "upstreams", tasks,
               [name for name, (eras, _) in behind.EXPECTED.items() if era in eras])
    for session in opened:
        session.kill()


def servers(clients, home):
    """The servers that listen themselves."""
    everything = str(home / "node_modules/@modelcontextprotocol/server-everything/dist/index.js")
    node = [clients.node, "--import", str(HERE / "loopback.mjs"), everything]
    return [
        Server("everyhttp", [*node, "streamableHttp"], home),
        Server("everysse", [*node, "sse"], home),
        Server("fast", [clients.python("fastmcp"), str(HERE / "fastmcp_server.py"), "{port}"], home,
               {"FASTMCP_CHECK_FOR_UPDATES": "off"}),
        Server("askhttp",
               [clients.python("python_1"), str(HERE / "asking_server.py"), "{port}"], home),
    ]


def put_behind(clients, all_servers, home):
    """Starts the servers and adds them, and those that core starts itself."""
    plane = clients.backplane
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda server: server.start(DEADLINE), all_servers))
    paths = {"everyhttp": "/mcp", "everysse": "/sse", "fast": "/mcp", "askhttp": "/mcp"}
    for server in all_servers:
        kind = ["--type", "sse"] if server.name == "everysse" else []
        url = f"http://127.0.0.1:{server.port}{paths[server.name]}"
        plane.add(server.name, "--url", url, *kind)
    packages = home / "node_modules/@modelcontextprotocol"
    plane.add("every", "--", clients.node, str(packages / "server-everything/dist/index.js"),
              "stdio")
    # Who asks must know whom: a process for each client.
    asker = {"command": clients.python("python_1"), "args": [str(HERE / "asking_server.py")],
             "share": "session"}
    given = home / "asker.json"
    given.write_text(json.dumps({"mcpServers": {"asker": asker}}))
    plane.run("upstream", "import", str(given), "--core", plane.urls["core"])
    plane.add("graph", "--env", f"MEMORY_FILE_PATH={home / 'graph.jsonl'}", "--", clients.node,
              str(packages / "server-memory/dist/index.js"))
    listed = [json.loads(line) for line in
              plane.run("upstream", "list", "--core", plane.urls["core"], "--output", "json")
              .splitlines()]
    names = {"asker", "askhttp", *behind.ALIVE}
    assert {one["name"] for one in listed} == names, listed
    for name in names:
        plane.run("upstream", "test", name, "--core", plane.urls["core"])


def main():
    installed, cortex = Path(sys.argv[1]).resolve(), str(Path(sys.argv[2]).resolve())
    report, began = Report(), time.monotonic()
    plane = Backplane(cortex, installed, DEADLINE, SETTINGS)
    clients = Clients(installed, plane)
    all_servers = servers(clients, installed)
    every = [(client, *era) for client, eras in CLIENTS.items() for era in eras]
    try:
        with ThreadPoolExecutor(CLIENTS_AT_ONCE) as pool:
            work = [pool.submit(own_endpoints, clients, report, *one) for one in every]
            work.append(pool.submit(inspector.run, clients, report, DEADLINE))
            for done in work:
                done.result()
        version = clients.package("server-everything")
        report.row("cortex upstream", "-", "-", "upstreams",
                   [("add, list, test", lambda: put_behind(clients, all_servers, installed))])
        with ThreadPoolExecutor(CLIENTS_AT_ONCE) as pool:
            work = [pool.submit(others_behind, clients, report, client, era)
                    for client, era, _ in every]
            for done in work:
                done.result()
        for name, (eras, why) in behind.EXPECTED.items():
            print(f"{name} is expected to fail ({', '.join(eras)}): {why}", flush=True)
        faults.run(clients, report, all_servers, version)
        report.row("cortex up", "-", "-", "the end", [("leaves_nothing_behind", plane.stop)])
    finally:
        plane.kill()
        for server in all_servers:
            server.kill()
        clients.log.close()
    print(f"{time.monotonic() - began:.0f} s; the logs are in {installed}")
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
