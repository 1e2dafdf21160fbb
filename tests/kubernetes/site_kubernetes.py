"""A real Kubernetes of one node on this machine: API server, controllers, kubelet, containers.

Meant for a network, mount and process namespace of its own (``.ci/run kubernetes`` makes
it): nothing of it is heard outside, and nothing is left when it ends. Needs root, cgroups
of version 1, the server that build.sh compiles, and Debian's containerd, runc and etcd.
"""

import json
import os
import secrets
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import yaml
from names import Names

ADDRESS = "10.254.0.1"
"""Of a bridge without ports: pods cannot reach what listens on loopback."""
SERVER = f"https://{ADDRESS}:6443"
ETCD = "http://127.0.0.1:2379"
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/24"
NODE = "node1"
PAUSE = "docker.io/library/pause:1"


class Node:
    """Every program of the cluster, each a process that is ended by its number."""

    def __init__(self, base, programs, archive):
        self.base = Path(base)
        self.programs = Path(programs)
        self.archive = Path(archive)
        self.processes = {}
        self.names = None
        self.token = secrets.token_hex(16)
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(self.base / "kubeconfig"),
            "HOME": str(self.base),
        }

    def up(self):
        for name in ("etcd", "network", "certificates", "log"):
            (self.base / name).mkdir(parents=True)
        _say("ip", "link", "set", "lo", "up")
        _say("ip", "link", "add", "services", "type", "bridge")
        _say("ip", "address", "add", f"{ADDRESS}/32", "dev", "services")
        _say("ip", "link", "set", "services", "up")
        _say("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._control()
        self._containers()
        self.names = Names(ADDRESS, self.environment)
        self._node()

    def down(self):
        if self.names is not None:
            self.names.close()
        for process in reversed(list(self.processes.values())):
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            process.kill()
            process.wait()

    def kubectl(self, *words, text=None):
        """What kubectl prints."""
        done = subprocess.run(
            ["kubectl", *map(str, words)],
            input=text,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(map(str, words))}: {done.stderr}")
        return done.stdout

    def apply(self, document):
        self.kubectl("apply", "--filename=-", text=yaml.safe_dump(document))

    def pods(self, **labels):
        """Pods that bear these labels, as Kubernetes describes them."""
        chosen = ",".join(f"{key}={value}" for key, value in labels.items())
        found = self.kubectl("get", "pods", "--output=json", f"--selector={chosen}")
        return json.loads(found)["items"]

    def state(self):
        """Everything worth knowing when a test has failed."""
        said = [self.kubectl("get", "pods", "--all-namespaces", "--output=wide")]
        said.append(self.kubectl("get", "events", "--all-namespaces"))
        for pod in self.pods():
            name = pod["metadata"]["name"]
            with suppress(RuntimeError):
                said.append(f"== {name}\n" + self.kubectl("logs", name, "--tail=40"))
        return "\n".join(said)

    def wait(self, claim, complaint, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(RuntimeError, subprocess.CalledProcessError):
                if claim():
                    return
            time.sleep(0.2)
        logs = "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}"
            for path in sorted((self.base / "log").iterdir())
        )
        raise RuntimeError(f"{complaint}\n{logs}")

    def _control(self):
        """Store, API server, controllers and scheduler."""
        certificates, key = self.base / "certificates", self.base / "accounts.key"
        _say("openssl", "genrsa", "-out", key, "2048")
        tokens = self.base / "tokens.csv"
        tokens.write_text(f'{self.token},admin,admin,"system:masters"\n')
        tokens.chmod(0o600)
        self._start(
            "etcd",
            *("etcd", "--data-dir", self.base / "etcd", "--unsafe-no-fsync"),
            *("--listen-client-urls", ETCD, "--advertise-client-urls", ETCD),
        )
        self._start(
            "kube-apiserver",
            *(f"--etcd-servers={ETCD}", f"--bind-address={ADDRESS}"),
            *(f"--advertise-address={ADDRESS}", f"--cert-dir={certificates}"),
            *(f"--token-auth-file={tokens}", "--authorization-mode=RBAC"),
            *(f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"),
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-cluster-ip-range={SERVICES}",
            "--kubelet-preferred-address-types=InternalIP",
        )
        # It signs for itself; that certificate is what everybody trusts.
        authority = certificates / "apiserver.crt"
        self.wait(authority.exists, "the API server does not start")
        user = {"name": "admin", "user": {"token": self.token}}
        cluster = {"server": SERVER, "certificate-authority": str(authority)}
        context = {"cluster": "test", "user": "admin", "namespace": "default"}
        about = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [user],
            "contexts": [{"name": "test", "context": context}],
        }
        (self.base / "kubeconfig").write_text(yaml.safe_dump(about))
        self.wait(lambda: self.kubectl("get", "--raw", "/readyz") == "ok", "no API server", 120)
        known = (f"--kubeconfig={self.base}/kubeconfig", "--bind-address=127.0.0.1", "--port=0")
        self._start(
            "kube-controller-manager",
            *(*known, "--leader-elect=false", f"--cert-dir={self.base}/controllers"),
            *(f"--service-account-private-key-file={key}", f"--root-ca-file={authority}"),
            *("--use-service-account-credentials=true", "--controllers=*,-nodeipam,-route,-ttl"),
        )
        scheduler = ("--leader-elect=false", f"--cert-dir={self.base}/scheduler")
        self._start("kube-scheduler", *known, *scheduler)

    def _containers(self):
        bridge = {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.base / "addresses"),
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        network = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
        (self.base / "network/pods.conflist").write_text(json.dumps(network))
        self.socket = self.base / "containerd.sock"
        settings = self.base / "containerd.toml"
        # restrict_oom_score_adj: a root without CAP_SYS_RESOURCE may not lower it.
        settings.write_text(
            f"""version = 2
root = "{self.base}/containers"
state = "{self.base}/running"
[grpc]
  address = "{self.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{self.base}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  sandbox_image = "{PAUSE}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.base}/network"
"""
        )
        self._start("containerd", "containerd", "--config", settings)
        ctr = ("ctr", "--address", self.socket, "--namespace", "k8s.io")
        self.wait(lambda: _say(*ctr, "version"), "containerd does not answer")
        _say(*ctr, "images", "import", self.archive, seconds=300)

    def _node(self):
        settings = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "healthzBindAddress": "127.0.0.1",
            "readOnlyPort": 0,
            # Nobody but the cluster's own pods is in this network.
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "failSwapOn": False,
            "resolvConf": "",
            "clusterDomain": "cluster.local",
            "clusterDNS": [ADDRESS],
            "evictionHard": {},
            "enforceNodeAllocatable": [],
        }
        (self.base / "kubelet.yaml").write_text(yaml.safe_dump(settings))
        known = (f"--kubeconfig={self.base}/kubeconfig", f"--hostname-override={NODE}")
        self._start(
            "kubelet",
            *(*known, f"--config={self.base}/kubelet.yaml", f"--root-dir={self.base}/kubelet"),
            *("--container-runtime=remote", f"--node-ip={ADDRESS}"),
            f"--container-runtime-endpoint=unix://{self.socket}",
            f"--cert-dir={self.base}/node",
        )
        self._start(
            "kube-proxy",
            *(*known, "--proxy-mode=iptables", f"--cluster-cidr={PODS}"),
            *("--bind-address=127.0.0.1", "--conntrack-max-per-core=0"),
        )
        ready = "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        self.wait(
            lambda: self.kubectl("get", "node", NODE, ready) == "True", "the node is not ready", 90
        )

    def _start(self, name, *words):
        """Start a program of our build by its name, or another by its command."""
        ours = self.programs / name
        command = [ours, *words] if ours.exists() else words
        with (self.base / "log" / f"{name}.log").open("w") as out:
            self.processes[name] = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.base,
                env=self.environment,
                start_new_session=True,
            )


def _say(*words, seconds=30):
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=seconds, check=True
    )
    return done.stdout
