"""Ask the pages of `view` and `status --serve` what strangers ask: paths, other origins.

Only pages of the server's own addresses may open its websocket, and no path may leave its folder.
"""

import base64
import os
import re
import socket
import subprocess
import sys

import iitdask as iit
from tests.attack.report import Report, run_attack

COMMANDS = [
    ["view"],
    ["status", "--serve"],
    ["view", "--address", "localhost"],
    ["status", "--serve", "--address", "localhost"],
    ["view", "--address", "127.0.0.2"],
    ["view", "--address", "::1"],
]
PATHS = [
    "/../../../../etc/passwd",
    "/static/../../../../../../etc/passwd",
    "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/static//etc/passwd",
    "/static/js/..%2f..%2f..%2f..%2fserver/server.py",
]
SECONDS = 60
TOKEN = re.compile(rb'"token":"([^"]+)"|token[^A-Za-z0-9]+([A-Za-z0-9_\-.=]{20,})')


def ask(address, path, headers=(("Connection", "close"),), host=None):
    """Return what a server answers to one request, to the end of its headers at least."""
    with socket.create_connection(address, timeout=SECONDS) as connection:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        name = f"[{address[0]}]" if ":" in address[0] else address[0]
        host = f"{name}:{address[1]}" if host is None else host
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{head}\r\n"
        connection.sendall(request.encode())
        answer, is_whole = b"", ("Connection", "close") in headers
        while is_whole or b"\r\n\r\n" not in answer:
            if not (part := connection.recv(65536)):
                break
            answer += part
    return answer


def open_websocket(address, page, origin, host=None, path="/ws"):
    """Return the first line of the answer to a page of another origin."""
    match = TOKEN.search(page)
    token = (match[1] or match[2]).decode() if match else ""
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": f"bokeh, {token}",
        "Origin": origin,
    }
    return ask(address, path, headers.items(), host).split(b"\r\n")[0].decode()


def probe(report, words, store):
    """Start a server, and ask it for pages, files and websockets."""
    name = " ".join(words)
    command = [sys.executable, "-m", "iitdask", words[0], str(store), *words[1:]]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        match = re.search(r"//(\[[^]]+\]|[^:/]+):(\d+)/", server.stdout.readline())
        if match is None:
            report.fail("no server", name, 0)
            return
        address = match[1].strip("[]"), int(match[2])
        page = ask(address, "/")
        foreign = ask(address, "/", host="evil.example")
        if b" 403 " in foreign.split(b"\r\n")[0]:
            report.count("other host refused")
        else:
            report.fail("other host accepted", name, foreign.split(b"\r\n")[0].decode())
        for path in PATHS:
            if b"root:" in ask(address, path):
                report.fail("file read", name, path)
            else:
                report.count("path refused")
        own = f"http://{match[1]}:{address[1]}"
        others = ["http://evil.example", "null", f"http://evil.example:{address[1]}"]
        for origin in [own, *others]:
            answer = open_websocket(address, page, origin)
            if ("101" in answer) == (origin == own):
                report.count("own origin accepted" if origin == own else "other origin refused")
            else:
                report.fail("own refused" if origin == own else "other accepted", name, origin)
    finally:
        server.terminate()
        server.wait()


def attack(_options, folder):
    """Probe every kind of server."""
    store = folder / "s.zarr"
    iit.ces(iit.examples.load("basic"), "100", store=store)
    report = Report()
    for words in COMMANDS:
        probe(report, words, store)
    return report


if __name__ == "__main__":
    run_attack(attack, __doc__, 0)
