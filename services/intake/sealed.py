"""The sealed columns of intake's tables."""

from shared.privacy.sealed import Lookup, SealedTable

SEALED = (
    SealedTable(
        "persons",
        ("person_ref",),
        ("sealed_name", "sealed_id_number"),
        (Lookup("id_lookup", "id-number", of="sealed_id_number"),),
    ),
    SealedTable(
        "contact_points", ("id",), ("sealed_value",), (Lookup("value_lookup", "contact", of="sealed_value"),)
    ),
    SealedTable("case_contacts", ("case_no", "person_ref", "kind"), ("sealed_value",)),
    SealedTable("cases", ("number",), ("sealed_form",)),
    SealedTable("consents", ("case_no", "holder", "nth"), ("sealed_reference",)),
    SealedTable(
        "unasked_contacts",
        ("id",),
        ("sealed_value", "sealed_code"),
        (Lookup("value_lookup", "unasked", of="sealed_value"),),
    ),
    # Nobody keeps what a provider calls people, a code that was sent, or who asked: these go a day later
    # (`retention`), and the key that they stand under with them.
    SealedTable(
        "one_time_codes",
        ("id",),
        lookups=(
            Lookup("value_lookup", "contact"),
            Lookup("network", "asker"),
            Lookup("code", "one-time-code"),
        ),
    ),
    SealedTable(
        "provider_sessions",
        ("session",),
        lookups=(Lookup("sub", "provider-sub"), Lookup("sid", "provider-sid")),
    ),
    SealedTable("lookup_misses", ("id",), lookups=(Lookup("asker", "asker"),)),
    SealedTable("day_counts", ("id",), lookups=(Lookup("who", "day-count"),)),
)
