"""What is sealed opens only where it was sealed, with the keys it was sealed with."""

from dataclasses import replace
from typing import TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.privacy.ciphers import CIPHERS, SM4_GCM
from shared.privacy.keys import (
    ForeignMasterKey,
    KeyState,
    MakeKey,
    MasterKeys,
    VaultError,
    WrappedKey,
    Wrapping,
)
from shared.privacy.vault import Vault

MASTER = bytes(range(32))


def masters(*keys: bytes) -> MasterKeys:
    """Files with these keys."""
    return lambda: keys


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

    def activate(self, service: str, make: MakeKey, by: str) -> None:
        made = make(self.load(service))
        if made is not None:
            self.rows = [(owner, replace(key, state=KeyState.RETIRING)) for owner, key in self.rows]
            self.rows.append((service, made))


class LateRows:
    """The same table for somebody who looked before the other one's key was there."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.looks = 0

    def load(self, service: str) -> list[WrappedKey]:
        self.looks += 1
        return [] if self.looks == 1 else self.rows.load(service)

    def activate(self, service: str, make: MakeKey, by: str) -> None:
        self.rows.activate(service, make, by)


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def vault(rows: Rows) -> Vault:
    return Vault("intake", masters(MASTER), rows)


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
    vault = Vault("intake", masters(MASTER), rows)
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
        Vault("notify", masters(MASTER), rows).open(blob, **PLACE)


def test_another_master_key_opens_nothing(vault: Vault, rows: Rows) -> None:
    blob = vault.seal("张三", **PLACE)
    with pytest.raises(VaultError, match="not wrapped with this master"):
        Vault("intake", masters(bytes(32)), rows).open(blob, **PLACE)


def test_a_master_key_of_the_wrong_length_is_refused(rows: Rows) -> None:
    with pytest.raises(VaultError, match="32 bytes"):
        Vault("intake", masters(b"short"), rows)


def test_whoever_seals_first_makes_the_one_key(vault: Vault, rows: Rows) -> None:
    other = Vault("intake", masters(MASTER), rows)
    first, second = vault.seal("张三", **PLACE), other.seal("李四", **PLACE)
    assert (vault.key_of(first), vault.key_of(second), len(rows.rows)) == (1, 1, 1)
    assert (other.open(first, **PLACE), vault.open(second, **PLACE)) == ("张三", "李四")


def test_two_that_seal_first_at_once_seal_with_the_same_key(rows: Rows) -> None:
    vault = Vault("intake", masters(MASTER), LateRows(rows))
    Vault("intake", masters(MASTER), rows).seal("李四", **PLACE)
    assert Vault("intake", masters(MASTER), rows).open(vault.seal("张三", **PLACE), **PLACE) == "张三"
    assert len(rows.rows) == 1


def test_rotation_seals_with_the_new_key_and_opens_the_old(vault: Vault, rows: Rows) -> None:
    old = vault.seal("old", **PLACE)
    running = Vault("intake", masters(MASTER), rows)
    assert running.open(old, **PLACE) == "old"
    assert vault.keyring.rotate() == 2
    new = vault.seal("new", **PLACE)
    assert (vault.key_of(old), vault.key_of(new)) == (1, 2)
    assert vault.open(old, **PLACE) == "old"
    # A process that has not heard of the rotation reads the keys again when it meets the new one.
    assert running.open(new, **PLACE) == "new"


def test_a_second_rotation_waits_for_the_end_of_the_first(vault: Vault, rows: Rows) -> None:
    vault.seal("old", **PLACE)
    assert [vault.keyring.rotate(), vault.keyring.rotate()] == [2, 2]
    assert [key.state for _, key in rows.rows] == [KeyState.RETIRING, KeyState.ACTIVE]


def test_without_an_active_key_nothing_is_sealed_and_no_new_one_is_made(vault: Vault, rows: Rows) -> None:
    blob = vault.seal("old", **PLACE)
    rows.rows = [(owner, replace(key, state=KeyState.RETIRING)) for owner, key in rows.rows]
    vault.keyring.refresh()
    assert vault.open(blob, **PLACE) == "old"
    with pytest.raises(VaultError, match="no active data key"):
        vault.seal("new", **PLACE)
    assert len(rows.rows) == 1


def test_who_was_refused_by_the_database_seals_with_the_new_key(vault: Vault, rows: Rows) -> None:
    running = Vault("intake", masters(MASTER), rows)
    running.seal("old", **PLACE)
    vault.keyring.rotate()
    assert running.key_of(running.seal("unaware", **PLACE)) == 1
    running.keyring.look_again()
    assert running.key_of(running.seal("aware", **PLACE)) == 2


def test_a_destroyed_key_makes_its_blobs_unreadable(vault: Vault, rows: Rows) -> None:
    blob = vault.seal("old", **PLACE)
    rows.rows.clear()
    vault.keyring.refresh()
    with pytest.raises(VaultError, match="no data key 1"):
        vault.open(blob, **PLACE)


def test_every_algorithm_opens_beside_the_others(vault: Vault, rows: Rows) -> None:
    sm4 = Vault("intake", masters(MASTER), rows, cipher=SM4_GCM)
    blob = sm4.seal("国密", **PLACE)
    assert blob[1] == SM4_GCM.code
    assert vault.open(blob, **PLACE) == "国密"
    with pytest.raises(VaultError):
        sm4.open(blob, table="person", row=8, column="name")
    relabelled = bytes((blob[0], 1)) + blob[2:]
    with pytest.raises(VaultError):
        vault.open(relabelled, **PLACE)
    assert {cipher.name for cipher in CIPHERS.values()} == {"aes-256-gcm", "sm4-gcm"}


def test_look_ups_differ_by_value_kind_and_service(vault: Vault) -> None:
    number = "330102199003078515"
    found = [
        vault.lookup(number, kind="id_number"),
        vault.lookup(number, kind="phone"),
        vault.lookup("330102199003078516", kind="id_number"),
        Vault("notify", masters(MASTER), Rows()).lookup(number, kind="id_number"),
        Vault("intake", masters(MASTER), Rows()).lookup(number, kind="id_number"),
    ]
    assert len(set(found)) == len(found)
    assert {len(one) for one in found} == {38}
    assert vault.lookup(number, kind="id_number") == found[0]
    with pytest.raises(VaultError):
        vault.open(found[0], **PLACE)


def test_while_keys_are_rotated_a_look_up_is_looked_for_under_both(vault: Vault, rows: Rows) -> None:
    number = "330102199003078515"
    old = vault.lookup(number, kind="id_number")
    vault.keyring.rotate()
    new = vault.lookup(number, kind="id_number")
    assert vault.lookups(number, kind="id_number") == [old, new]
    assert (vault.key_of(old), vault.key_of(new)) == (1, 2)
    rows.rows = [
        (owner, replace(key, wrapped=b"", state=KeyState.RETIRED) if key.key_id == 1 else key)
        for owner, key in rows.rows
    ]
    assert Vault("intake", masters(MASTER), rows).lookups(number, kind="id_number") == [new]


def test_a_new_master_key_changes_neither_what_is_sealed_nor_a_look_up(vault: Vault, rows: Rows) -> None:
    blob, lookup = vault.seal("张三", **PLACE), vault.lookup("1", kind="k")
    coming = bytes(reversed(MASTER))
    wrapping = Wrapping("intake", [MASTER, coming])
    rows.rows = [(owner, wrapping.wrap_anew(key)) for owner, key in rows.rows]
    for keys in ([MASTER, coming], [coming]):
        found = Vault("intake", masters(*keys), rows)
        assert (found.open(blob, **PLACE), found.lookup("1", kind="k")) == ("张三", lookup)
    with pytest.raises(ForeignMasterKey):
        Vault("intake", masters(MASTER), rows).open(blob, **PLACE)


def test_a_key_that_is_made_while_all_are_wrapped_anew_is_not_left_behind(vault: Vault, rows: Rows) -> None:
    vault.seal("old", **PLACE)
    coming = bytes(reversed(MASTER))
    both = Vault("intake", masters(MASTER, coming), rows)
    both.keyring.rotate()
    # Wrapped as the first one is, not under the coming key, which may still be given up.
    assert Vault("intake", masters(MASTER), rows).keyring.lookup_keys("k").keys() == {1, 2}


def test_errors_hold_no_data(vault: Vault) -> None:
    blob = vault.seal("张三", **PLACE)
    with pytest.raises(VaultError) as caught:
        vault.open(blob, table="person", row="330102199003078515", column="name")
    assert "张三" not in str(caught.value)
    assert "330102199003078515" not in str(caught.value)
