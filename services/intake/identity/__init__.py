"""Who is who: a part of intake with walls of its own (import-linter, "Identity has walls").

    web           the doors: log in, log out, what other services may ask
    <provider>    one file is one identity provider; see `provider`
    provider      what a provider is, and what it is given
    sessions      log-ins: opened, ended, told to everybody
    my_contacts   how somebody is reached, as they see it
    client_keys   what client programs sign with
    accounts      who comes by office, and what they may do
    persons       people by `person_ref`, and their names
    codes         one-time codes, which show that somebody holds a phone or a mailbox
    contacts      how people are reached: what they verified, and what a provider vouches for
    attributes    where something about a person comes from, and which of two is believed

Lower lines know nothing of higher ones, and no provider knows another.
"""
