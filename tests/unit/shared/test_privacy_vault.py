"""What is sealed opens only where it was sealed, with the keys it was sealed with."""

from dataclasses import replace
from typing import TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.privacy.ciphers import CIPHERS, SM4_GCM
from shared.privacy.keys import KeyState, VaultError, WrappedKey
from shared.privacy.vault import Vault

MASTER = bytes(range(32))


class Place(TypedDict):
    """Where a value is sealed."""

    table: str
    row: object
    column: str


PLACE = Place(table="person", row=7, column="name")


class Rows:
    """A table of data keys."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, WrappedKey]] = []

    def load(self, service: str) -> list[WrappedKey]:
        return [key for owner, key in self.rows if owner == service]

    def add(self, service: str, key: WrappedKey) -> None:
        if all(known.key_id != key.key_id for known in self.load(service)):
            self.rows.append((service, key))


class LateRows:
    """The same table for somebody who looked before the other one's key was there."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.looks = 0

    def load(self, service: str) -> list[WrappedKey]:
        self.looks += 1
        return [] if self.looks <= 2 else self.rows.load(service)

    def add(self, service: str, key: WrappedKey) -> None:
        self.rows.add(service, key)


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def vault(rows: Rows) -> Vault:
    return Vault("intake", MASTER, rows)


def test_text_and_bytes_come_back(vault: Vault) -> None:
    assert vault.open(vault.seal("张三", **PLACE), **PLACE) == "张三"
    blob = vault.seal(b"\xff\x00", **PLACE)
    assert vault.open_bytes(memoryview(blob), **PLACE) == b"\xff\x00"
    with pytest.raises(VaultError, match="does not hold text"):
        vault.open(blob, **PLACE)


def test_the_same_text_is_never_sealed_the_same(vault: Vault) -> None:
    first, second = vault.seal("张三", **PLACE), vault.seal("张三", **PLACE)
    assert first != second
    assert "张三".encode() not in first


@pytest.mark.parametrize(
    "elsewhere",
    [
        Place(table="contact", row=7, column="name"),
        Place(table="person", row=8, column="name"),
        Place(table="person", row=7, column="phone"),
    ],
)
def test_a_blob_moved_to_another_place_does_not_open(vault: Vault, elsewhere: Place) -> None:
    blob = vault.seal("张三", **PLACE)
    with pytest.raises(VaultError):
        vault.open(blob, **elsewhere)


def test_swapped_rows_do_not_open(vault: Vault) -> None:
    mine = vault.seal("mine", table="person", row=1, column="name")
    with pytest.raises(VaultError, match="changed, or sealed for another place"):
        vault.open(mine, table="person", row=2, column="name")


def test_names_that_run_together_are_different_places(vault: Vault) -> None:
    blob = vault.seal("x", table="ab", row="c", column="d")
    with pytest.raises(VaultError):
        vault.open(blob, table="a", row="bc", column="d")


@given(st.data())
@settings(max_examples=60)
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    rows = Rows()
    vault = Vault("intake", MASTER, rows)
    blob = bytearray(vault.seal("张三", **PLACE))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(VaultError):
        vault.open(bytes(blob), **PLACE)


@pytest.mark.parametrize(
    "blob",
    [b"", b"\x01", b"\x01\x01\x00\x00\x00\x01", b"\x01\x02\x00\x00\x00\x01short", b"plain text from before"],
)
def test_what_was_never_sealed_is_refused(vault: Vault, blob: bytes) -> None:
    with pytest.raises(VaultError):
        vault.open(blob, **PLACE)


def test_another_service_cannot_open_even_with_the_same_rows(vault: Vault, rows: Rows) -> None:
    blob = vault.seal("张三", **PLACE)
    rows.rows = [("notify", key) for _, key in rows.rows]
    with pytest.raises(VaultError, match="not wrapped with this master"):
        Vault("notify", MASTER, rows).open(blob, **PLACE)


def test_another_master_key_opens_nothing(vault: Vault, rows: Rows) -> None:
    blob = vault.seal("张三", **PLACE)
    with pytest.raises(VaultError, match="not wrapped with this master"):
        Vault("intake", bytes(32), rows).open(blob, **PLACE)


def test_a_master_key_of_the_wrong_length_is_refused(rows: Rows) -> None:
    with pytest.raises(VaultError, match="32 bytes"):
        Vault("intake", b"short", rows)


def test_whoever_seals_first_makes_the_one_key(vault: Vault, rows: Rows) -> None:
    other = Vault("intake", MASTER, rows)
    first, second = vault.seal("张三", **PLACE), other.seal("李四", **PLACE)
    assert (vault.key_of(first), vault.key_of(second), len(rows.rows)) == (1, 1, 1)
    assert (other.open(first, **PLACE), vault.open(second, **PLACE)) == ("张三", "李四")


def test_two_that_seal_first_at_once_seal_with_the_same_key(rows: Rows) -> None:
    vault = Vault("intake", MASTER, LateRows(rows))
    Vault("intake", MASTER, rows).seal("李四", **PLACE)
    assert Vault("intake", MASTER, rows).open(vault.seal("张三", **PLACE), **PLACE) == "张三"
    assert len(rows.rows) == 1


def test_rotation_seals_with_the_new_key_and_opens_the_old(vault: Vault, rows: Rows) -> None:
    old = vault.seal("old", **PLACE)
    running = Vault("intake", MASTER, rows)
    assert running.open(old, **PLACE) == "old"
    assert vault.keyring.rotate() == 2
    new = vault.seal("new", **PLACE)
    assert (vault.key_of(old), vault.key_of(new)) == (1, 2)
    assert vault.open(old, **PLACE) == "old"
    # A process that has not heard of the rotation reads the keys again when it meets the new one.
    assert running.open(new, **PLACE) == "new"


def test_a_retired_key_opens_but_does_not_seal(vault: Vault, rows: Rows) -> None:
    blob = vault.seal("old", **PLACE)
    rows.rows = [(owner, replace(key, state=KeyState.RETIRED)) for owner, key in rows.rows]
    vault.keyring.refresh()
    assert vault.open(blob, **PLACE) == "old"
    with pytest.raises(VaultError):
        vault.seal("new", **PLACE)


def test_a_destroyed_key_makes_its_blobs_unreadable(vault: Vault, rows: Rows) -> None:
    blob = vault.seal("old", **PLACE)
    rows.rows.clear()
    vault.keyring.refresh()
    with pytest.raises(VaultError, match="no data key 1"):
        vault.open(blob, **PLACE)


def test_every_algorithm_opens_beside_the_others(vault: Vault, rows: Rows) -> None:
    sm4 = Vault("intake", MASTER, rows, cipher=SM4_GCM)
    blob = sm4.seal("国密", **PLACE)
    assert blob[1] == SM4_GCM.code
    assert vault.open(blob, **PLACE) == "国密"
    with pytest.raises(VaultError):
        sm4.open(blob, table="person", row=8, column="name")
    relabelled = bytes((blob[0], 1)) + blob[2:]
    with pytest.raises(VaultError):
        vault.open(relabelled, **PLACE)
    assert {cipher.name for cipher in CIPHERS.values()} == {"aes-256-gcm", "sm4-gcm"}


def test_look_ups_are_stable_over_rotation_and_differ_by_kind_service_and_master(
    vault: Vault, rows: Rows
) -> None:
    first = vault.lookup("330102199003078515", kind="id_number")
    vault.keyring.rotate()
    again = Vault("intake", MASTER, rows)
    assert again.lookup("330102199003078515", kind="id_number") == first
    others = [
        vault.lookup("330102199003078515", kind="phone"),
        vault.lookup("330102199003078516", kind="id_number"),
        Vault("notify", MASTER, rows).lookup("330102199003078515", kind="id_number"),
        Vault("intake", bytes(32), rows).lookup("330102199003078515", kind="id_number"),
    ]
    assert len({first, *others}) == 5


def test_errors_hold_no_data(vault: Vault) -> None:
    blob = vault.seal("张三", **PLACE)
    with pytest.raises(VaultError) as caught:
        vault.open(blob, table="person", row="330102199003078515", column="name")
    assert "张三" not in str(caught.value)
    assert "330102199003078515" not in str(caught.value)
