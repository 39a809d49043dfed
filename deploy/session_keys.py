"""Changes the key that signs log-ins while people work: `onestop secrets turn-session-key`, a step a call.

    intake/  session.next.key      the coming key: everybody checks with it already, nobody signs yet
             session.old.pub       what checks tokens of the key before, until they have all ended

Every process reads its `session.pub` when it starts: after each step those of all services are given their
new one and started again, one by one, before the next step.
"""

import time
from enum import StrEnum
from pathlib import Path

from deploy.asks import SIGNER
from deploy.errors import TokensStillGood
from deploy.secret_files import init_secrets, new_key
from shared.auth.key_pair import public_key_of
from shared.auth.tokens import LONGEST_SESSION
from shared.durable import make_private_file, replace_private
from shared.privacy.secret_files import (
    COMING_SESSION_KEY,
    LEAVING_SESSION_PUBLIC_KEY,
    SESSION_KEY,
    read_private,
)


class Step(StrEnum):
    """What a call did."""

    PUBLISHED = "published"
    """A new key is made; all processes will check with it."""
    SIGNS = "signs"
    """intake will sign with it; the one before is still checked with."""
    RETIRED = "retired"
    """The one before is gone: nothing that it signed is believed."""


def turn_session_key(root: Path) -> Step:
    """The next step of the change. Broken off anywhere, it is done again.

    Raises TokensStillGood when a token of the old key may still be in use.
    """
    folder = root / SIGNER
    key, coming = folder / SESSION_KEY, folder / COMING_SESSION_KEY
    leaving = folder / LEAVING_SESSION_PUBLIC_KEY
    if coming.exists():
        replace_private(leaving, public_key_of(bytes.fromhex(read_private(key))).hex() + "\n")
        coming.replace(key)
        step = Step.SIGNS
    elif leaving.exists():
        _check_old_tokens_are_over(leaving)
        leaving.unlink()
        step = Step.RETIRED
    else:
        make_private_file(coming, new_key)
        step = Step.PUBLISHED
    init_secrets(root)
    return step


def _check_old_tokens_are_over(leaving: Path) -> None:
    good_until = leaving.stat().st_mtime + LONGEST_SESSION.total_seconds()
    if time.time() < good_until:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(good_until))
        raise TokensStillGood(
            f"旧密钥签发的登录在 {when} 前仍然有效，请在此之后再执行",
            f"log-ins that the old key signed are good until {when}: give this command again after that",
        )
