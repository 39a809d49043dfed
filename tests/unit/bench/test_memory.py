"""How the memory of an installation is counted."""

from tests.bench.memory import private_share

SMAPS = """\
5581a0000000-5581a0010000 r-xp 00000000 08:01 1234                       /usr/lib/postgresql/bin/postgres
Rss:                 100 kB
Pss:                  40 kB
Pss_Dirty:             7 kB
VmFlags: rd ex mr mw me sd
7f0000000000-7f0004000000 rw-s 00000000 00:01 1025                       /dev/zero (deleted)
Pss:               60000 kB
7f0004000000-7f0004001000 rw-s 00000000 00:05 2                          /SYSV0052e2c1 (deleted)
Pss:                   4 kB
7f0004001000-7f0004100000 rw-s 00000000 00:19 3                          /dev/shm/PostgreSQL.1234
Pss:                 500 kB
7f0005000000-7f0005100000 rw-p 00000000 00:00 0
Pss:                   2 kB
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
Pss:                   1 kB
"""


def test_what_a_postgresql_shares_among_its_own_is_left_out() -> None:
    assert private_share(SMAPS) == 43
