"""Command lines with malformed arguments, and a folder of things to point at."""

import os
import shutil
from pathlib import Path
from random import Random

from tests.attack.malformed import write_study

STORES = [
    *("nope.zarr", "/", "/etc/passwd", "/dev/null", "/proc/self", "/dev/full", ".", "..", ""),
    *(" ", "a" * 300, "a/" * 3000, "x\ny", "x\ry", "x\u2028y", "~nobodyhere/x", "~", "-x", "--"),
    *("\N{COLLISION SYMBOL}.zarr", "\udc80.zarr", "\0.zarr", "loop", "fifo", "junk", "empty"),
    *("folder", "good.zarr", "good.zarr/result", "good.zarr/", "./good.zarr/../good.zarr"),
    *("sweep.zarr", "link.zarr", "group.zarr", "array.zarr", "text.zarr", "list.zarr"),
    *("file://", "file:///", "file://host/x", "file://%00", "memory://x", "memory:///"),
    *("zip://x.zip", "zip://nope::file://x", "http://127.0.0.1:1/x", "ftp://127.0.0.1:1/x"),
    *("nosuch://x", "://", "s3://", "s3://b/k", "gs://b/k", "az://c/k", "abfs://x@y/z"),
    *("s3://key:secret@b/k", "simplecache::memory://x", "local://x", "data:,x", "reference://"),
    *("git://x", "tcp://127.0.0.1:1", "sftp://127.0.0.1/x", "smb://127.0.0.1/x", "dir://x"),
    *("hdfs://127.0.0.1/x", "cached::file://x", "blockcache::file://x", "tar://x", "hf://x"),
    *("arrow_hdfs://x", "jupyter://x", "webhdfs://127.0.0.1:1/x", "libarchive://x", "box://x"),
    *("generic://x", "oci://x", "root://x", "dvc://x", "gdrive://x", "asynclocal://x"),
]
NUMBERS = [
    *("0", "-1", "1", "2", "nan", "inf", "-inf", "1e400", "99999999999999999999", "x", "", " "),
    *("1.5", "0x10", "\u0663", "1_0", "True", "None", "1e-9", "-0", "65536", "70000", "9" * 5000),
]
AMOUNTS = [
    *("4GB", "0", "-1", "1", "nan", "inf", "1e400GB", "GB", "", "4 GB", "4XB", "1e30GB"),
    *("\u0663GB", "0.1B", "-4GB", "4GiB", "1e3", "nanGB", "infGB", "100MB", "x" * 1000),
]
DURATIONS = ["1", "x", "-1", "nan", "1m", "inf", "", "1e400", "0", "1:2:3:4", "nan:1", "-1:00"]
WALLTIMES = [
    *("1", "x", "-1", "1-", "99:99:99:99", "", "nan", "00:00:00", "1-1:1:1", "\u0663", "1e400"),
]
CLUSTERS = [
    *("local", "x", "", "tcp://127.0.0.1:1", "tcp://", "tcp://x:y", "://", "inproc://x"),
    *("tls://127.0.0.1:1", "allocation", "ucx://127.0.0.1:1", "http://127.0.0.1:1"),
    *("tcp://127.0.0.1:99999", "tcp://127.0.0.1", "slurm", "slurm-array", "kubernetes"),
]
FOLDERS = ["cachedir", "/dev/null", "junk", "", "/proc/x", "a" * 300, "\0", "nope", "good.zarr"]
FLAGS: dict[str, dict[str, list[str] | None]] = {
    "run": {
        "--workers": ["0", "-1", "x", "nan", "1e9", "", "99999999999999999999"],
        "--memory": AMOUNTS,
        "--budget": NUMBERS,
        "--cluster": CLUSTERS,
        "--cache": FOLDERS,
        "--dashboard-port": NUMBERS,
        "--cores": NUMBERS,
        "--walltime": WALLTIMES,
        "--site": ["x", ""],
        "--directive": ["x", "", "\n"],
        "--manifest": ["junk", "nope", "/dev/null", "folder"],
        "--interface": ["x", "lo"],
        "--port": NUMBERS,
        "--nope": None,
        **dict.fromkeys(["--quiet", "--fresh", "--join", "--adapt", "--tls", "--print-job"]),
        "--dashboard": None,
    },
    "work": {
        "--spec": ["good.yaml", "nope", "junk", "folder", "\0"],
        "--threads": NUMBERS,
        "--lifetime": DURATIONS,
        "--memory": AMOUNTS,
        "--quiet": None,
    },
    "plan": {"--memory": AMOUNTS, "--block-seconds": NUMBERS, "--json": None},
    "estimate": {
        "--seconds": NUMBERS,
        "--budget": NUMBERS,
        "--workers": NUMBERS,
        "--memory": AMOUNTS,
        "--json": None,
    },
    "status": {"--json": None},
    "show": {"--json": None, "--cache": FOLDERS},
    "view": {"--html": ["o.html", "/nope/o.html", "", ".", "/dev/full", "a" * 300, "\0", "folder"]},
    "verify": {"--sample": NUMBERS, "--seed": NUMBERS},
}
EXPORTS = [
    *("o.csv", "o.json", "o.nc", "o", "o.x", "", "/nope/o.csv", "/dev/full", "folder", "good.zarr"),
    *("a" * 300 + ".csv", "\0.csv", ".csv", "\N{SNOWMAN}.json", "folder/o.csv", "x\ny.csv"),
]
STUDY_FILES = [
    *("folder", "fifo", "loop", "junk", "empty", "/dev/null", "nope", "a" * 300, "", "/", "\0"),
    *("/proc/self/mem", "good.zarr", "http://127.0.0.1:1/x", "~/x", "x\ny", "\udcff"),
]
EXTRA_WORDS = ["--help", "--debug-x", "-n", "--", "extra", "", "--version", "\udcff"]
NEVER_FRESH = ("/", ".", "..", "~", "", "file:///")


def flags(r: Random, command: str) -> list[str]:
    """Return up to three options of a command with values that mostly do not fit."""
    words = []
    known = FLAGS.get(command, {})
    for _ in range(r.choice([0, 0, 1, 1, 2, 3]) if known else 0):
        name = r.choice(list(known))
        values = known[name]
        words.append(name)
        if values is not None:
            words.append(r.choice(values))
        elif r.random() < 0.05:
            words.append(r.choice(NUMBERS))
    return words


def write_things(good: Path, folder: Path) -> None:
    """Fill a folder with stores, files that are none, links and a FIFO."""
    (folder / "junk").write_bytes(bytes(range(256)) * 4)
    (folder / "empty").write_bytes(b"")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "fifo")
    for name in ("good.zarr", "sweep.zarr"):
        shutil.copytree(good / name, folder / name)
    (folder / "link.zarr").symlink_to("good.zarr")
    shutil.copy(good / "good.yaml", folder / "good.yaml")
    roots = {
        "group": '{"zarr_format": 3, "node_type": "group", "attributes": {}}',
        "array": '{"zarr_format": 3, "node_type": "array"}',
        "text": "{{{",
        "list": "[1]",
    }
    for name, text in roots.items():
        (folder / f"{name}.zarr").mkdir()
        (folder / f"{name}.zarr" / "zarr.json").write_text(text)


def study_command(r: Random, folder: Path) -> list[str]:
    """Return a command that reads a malformed study."""
    for name in ("fifo", "fifo.npy", "fifo.json"):
        os.mkfifo(folder / name)
    (folder / "folder.npy").mkdir()
    file = write_study(r, folder)
    command = r.choices(["plan", "run", "estimate", "work"], [55, 33, 9, 3])[0]
    words = [command, file]
    if command == "run":
        words.append("--quiet")
    if command == "work":
        words = ["work", "w.zarr", "--spec", file, "--quiet"]
    return words + (flags(r, command) if r.random() < 0.05 else [])


def flag_command(r: Random, good: Path, folder: Path) -> list[str]:
    """Return a command on good things with malformed flags."""
    write_things(good, folder)
    command = r.choice(["run", "run", "plan", "estimate", "work", "verify", "examples"])
    first = "good.yaml" if command in ("run", "plan", "estimate") else "good.zarr"
    if command == "examples":
        first = r.choice(["basic", "nope", "", "../x", "a" * 500, "\n"])
    if r.random() < 0.15:
        first = r.choice(STUDY_FILES)
    words = [command, first, *flags(r, command)]
    if command == "run" and r.random() < 0.3:
        words += ["--store", r.choice(STORES)]
    if r.random() < 0.1:
        r.shuffle(words)
    if r.random() < 0.1:
        words.insert(r.randint(0, len(words)), r.choice(EXTRA_WORDS))
    return words


def store_command(r: Random, good: Path, folder: Path) -> list[str]:
    """Return a command on something that mostly is no store."""
    write_things(good, folder)
    names = ["status", "show", "view", "verify", "export", "tidy", "work", "run"]
    command, store = r.choice(names), r.choice(STORES)
    words = [command, store, *flags(r, command)]
    if command == "view" and "--html" not in words:
        words += ["--html", "o.html"]
    if command == "export":
        words.insert(2, r.choice(EXPORTS))
    if command == "run":
        words = ["run", "good.yaml", "--quiet", "--store", store]
        if r.random() < 0.3 and store not in NEVER_FRESH:
            words.append("--fresh")
    return words


def command_line(r: Random, good: Path, folder: Path) -> tuple[list[str], str]:
    """Prepare a folder; return the words of a command and which kind they are."""
    kind = r.random()
    if kind < 0.62:
        return study_command(r, folder), "study"
    if kind < 0.8:
        return flag_command(r, good, folder), "flags"
    return store_command(r, good, folder), "store"
