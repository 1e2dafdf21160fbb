"""A stand-in for the cluster's DNS: addresses of services, and nothing else in the world."""

import json
import socket
import socketserver
import struct
import subprocess
import threading
import time

PORT = 53
A = 1
KNOWN, UNKNOWN = 0x8580, 0x8583
AGE = 0.5
"""Seconds for which a name that was not found is not looked up again."""


class Names:
    """Answers for NAME.NAMESPACE.svc.cluster.local as the API server has it."""

    def __init__(self, address, environment):
        self.environment = environment
        self.table = {}
        self.looked = 0.0
        names = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                data, out = self.request
                out.sendto(names.answer(data), self.client_address)

        self.server = socketserver.UDPServer((address, PORT), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, query):
        """The reply to one question."""
        name, end = question(query)
        (kind,) = struct.unpack(">H", query[end - 4 : end - 2])
        address = self.find(name)
        found = address is not None and kind == A
        head = query[:2] + struct.pack(
            ">HHHHH", UNKNOWN if address is None else KNOWN, 1, int(found), 0, 0
        )
        reply = head + query[12:end]
        if found:
            reply += struct.pack(">HHHIH", 0xC00C, A, 1, 2, 4) + socket.inet_aton(address)
        return reply

    def find(self, name):
        if name not in self.table and time.monotonic() - self.looked > AGE:
            self.look()
        return self.table.get(name)

    def look(self):
        self.looked = time.monotonic()
        done = subprocess.run(
            ["kubectl", "get", "services", "--all-namespaces", "--output=json"],
            env=self.environment,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            return
        self.table = {}
        for service in json.loads(done.stdout)["items"]:
            about, address = service["metadata"], service["spec"].get("clusterIP", "None")
            if address != "None":
                name = f"{about['name']}.{about['namespace']}.svc.cluster.local"
                self.table[name] = address


def question(query):
    """Name asked for, and where the question ends."""
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    return ".".join(labels), at + 5
