"""Where a store can lie, and what is said when it cannot be written."""

import errno
import os

import pytest

from iitdask.errors import InputError, MissingStoreError, StoreError
from iitdask.run.result_group import drop_blocks, store_attrs
from iitdask.run.storage import open_store, write_errors_as_store_errors
from iitdask.run.zarr_ledger import StageCache, ZarrLedger

IMPOSSIBLE = {
    "empty": ("", "got nothing"),
    "no path": ("file://", r"or file:///PATH, got 'file://'$"),
    "another host": ("file://host/x", r"or file:///PATH, got 'file://host/x'$"),
    "a path as host": ("file://x", r"or file:///PATH, got 'file://x'$"),
    "a query": ("file:///tmp/x?y", r"or file:///PATH, got"),
    "null character": ("a\0b", "null"),
    "home of nobody": ("~nobodyhere/x", "home directory"),
    "long": ("a" * 300, "File name too long"),
    "http": ("http://127.0.0.1:9/x", "which cannot be written"),
    "memory": ("memory://x", "which cannot be written"),
    "chained": ("zip://nope::file://x", "which cannot be written"),
    "password": ("s3://key:SECRET@b/x", "credentials in the environment"),
    "query": ("s3://b/x?secret=SECRET", "credentials in the environment"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_open__refuses_what_can_be_no_store(name):
    url, expected = IMPOSSIBLE[name]
    with pytest.raises(InputError, match=expected) as caught:
        open_store(url)
    assert "SECRET" not in str(caught.value)


def test_addresses_of_files__mean_the_paths_they_are_made_of(tmp_path):
    path = tmp_path / "a b%20c?d"
    assert open_store(path.as_uri()).directory == open_store(path).directory == path


def test_open__refuses_links_that_lead_nowhere(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing")
    with pytest.raises(InputError, match="Too many levels of symbolic links"):
        open_store(tmp_path / "loop")
    with pytest.raises(InputError, match="got a link to nothing"):
        open_store(tmp_path / "dangling")


def test_bytes__of_a_directory_are_those_of_its_files(tmp_path):
    store = open_store(tmp_path / "s")
    assert store.nbytes() == 0
    store.write_many({"a/b": b"12345", "c": b"6"})
    assert store.nbytes() == 6


REASONS = {
    errno.ENOSPC: "no space left to write .* free some space",
    errno.EROFS: "cannot be written .* make the store writable",
    errno.EACCES: "cannot be written .* make the store writable",
    errno.ENOENT: "its directory is not there .* put it back",
    errno.EIO: "cannot be written .* run again when it can",
}


@pytest.mark.parametrize("number", REASONS)
def test_write_errors__say_what_to_do(number):
    with (
        pytest.raises(StoreError, match=f"here: {REASONS[number]}"),
        write_errors_as_store_errors("here"),
    ):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("error", [StoreError("mine"), FileNotFoundError("no errno"), KeyError(1)])
def test_write_errors__pass_on_what_the_system_did_not_say(error):
    with pytest.raises(type(error)) as caught, write_errors_as_store_errors("here"):
        raise error
    assert caught.value is error


def test_attrs__of_no_store_are_wrong_input(tmp_path):
    with pytest.raises(MissingStoreError, match="expected a store of iitdask, found none"):
        store_attrs(open_store(tmp_path / "nothing"))
    assert issubclass(MissingStoreError, InputError)
    assert issubclass(MissingStoreError, StoreError)


def test_cache__that_cannot_be_a_directory_is_named(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below", "s3://bucket/x"):
        with (
            pytest.raises(InputError, match=r"cache \(--cache\): expected a directory, got"),
            StageCache(str(path), ()).opened(),
        ):
            pass


def test_store__in_a_place_that_takes_none_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"its directory is not there \(Not a directory"):
        ZarrLedger(open_store(tmp_path / "file" / "s"))
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "file"):
        with pytest.raises(MissingStoreError, match="is no directory; use another"):
            ZarrLedger(open_store(tmp_path / name))
    (tmp_path / "store").mkdir()
    os.mkfifo(tmp_path / "store/zarr.json")
    with pytest.raises(MissingStoreError, match="expected a store of iitdask, found none"):
        store_attrs(open_store(tmp_path / "store"))


def test_drop_blocks__of_a_store_that_is_read_only_says_so(monkeypatch, tmp_path):
    from iitdask.run import result_group

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("require_current_format", "store_attrs", "load_result"):
        monkeypatch.setattr(result_group, name, lambda *_: None)
    monkeypatch.setattr(result_group, "update_attrs", refuse)
    with pytest.raises(StoreError, match=r"cannot be written \(Read-only file system"):
        drop_blocks(open_store(tmp_path / "s"))
