"""Values that stand nowhere else in the world, and how to find them again in whatever shape."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import md5, sha256
from urllib.parse import quote

from tests.support.agents import born
from tests.support.installation import id_number


@dataclass(frozen=True, slots=True)
class Canary:
    """Values that stand nowhere else in the world."""

    name: str
    id_number: str
    phone: str
    email: str
    address: str
    reason: str
    file_name: str
    contact: str = ""
    """A phone that they verify."""
    held: str = ""
    """A reason that somebody writes over the end of their session."""
    assignment: str = ""
    """Why a task is handed to somebody else."""
    elder: str = ""
    """For whom they act, with an ID number and a phone."""
    elder_id: str = ""
    elder_phone: str = ""

    def values(self) -> dict[str, str]:
        """By what they are; what one is not used for it does not have."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in said.items() if value}


TOLD = {
    "database": Canary(
        "尉迟昶翀",
        id_number(7_654_321),
        "13948607152",
        "changchong.yuchi@lusi-alley.example.org",
        "鸬鹚巷 9 弄 613 室",
        "鱼骨庙会那天他不在家",
        "昶翀的租约.pdf",
        contact="13958214076",
        held="门口的石狮子转过身来",
        assignment="值班表上写着去采莲蓬",
        elder="尉迟霓裳",
        elder_id=born(1947, 391),
        elder_phone="13967402185",
    ),
    "rabbitmq": Canary(
        "鲜于霁彧",
        id_number(7_123_457),
        "13927415860",
        "jiyu.xianyu@zhushan-ferry.example.org",
        "杼山渡 4 幢 257 室",
        "芦苇荡里没有门牌号码",
        "霁彧的租约.pdf",
        contact="13935207468",
        held="晒谷场边拴着一条木船",
        assignment="他请假去看潮水涨没涨",
        elder="鲜于茉莉",
        elder_id=born(1946, 273),
        elder_phone="13972840561",
    ),
}
STRAY = {
    "database": Canary(
        "澹台毓珩",
        id_number(6_543_211),
        "13916273849",
        "yuheng.tantai@zhegu-ridge.example.org",
        "鹧鸪岭 8 号 391",
        "风铎响了三十七下",
        "毓珩.pdf",
    ),
    "rabbitmq": Canary(
        "濮阳澍雯",
        id_number(6_231_547),
        "13958361724",
        "shuwen.puyang@xingcai-bay.example.org",
        "荇菜湾 6 号 482",
        "檐马数到了四十九",
        "澍雯.pdf",
    ),
}
"""What a broken sender puts into a message. The message itself lies with the broker as it came, so these are
looked for in what we make of it."""


def written(values: Mapping[str, str]) -> dict[str, bytes]:
    """Each value as it could be written: encodings, escapes, and hashes that anybody can make."""
    found = {}
    for what, value in values.items():
        plain = value.encode()
        shapes = {
            "": plain,
            "utf-16": value.encode("utf-16-le"),
            "utf-16-be": value.encode("utf-16-be"),
            "gb18030": value.encode("gb18030"),
            "json": json.dumps(value)[1:-1].encode(),
            "repr": ascii(value)[1:-1].encode(),
            "bytes": repr(plain)[2:-1].encode(),
            "url": quote(value).encode(),
            "form": quote(value, safe="").replace("%20", "+").encode(),
            "hex": plain.hex().encode(),
            **{f"base64 {n}": _base64(plain, n) for n in range(3)},
            **{f"{h.__name__[8:]} hex": h(plain).hexdigest().encode() for h in (md5, sha256)},
            **{h.__name__[8:]: h(plain).digest() for h in (md5, sha256)},
        }
        found.update({shape: f"{what} {how}".strip() for how, shape in reversed(shapes.items())})
    return {what: shape for shape, what in found.items()}


def written_code(code: str) -> dict[str, bytes]:
    """A one-time code as it could be written: alone six digits stand anywhere by chance, so with what stands
    around them, and as hashes that anybody can make."""
    plain = code.encode()
    shapes = {
        "in quotes": b'"' + plain + b'"',
        "in single quotes": b"'" + plain + b"'",
        "named": b"code=" + plain,
        "as a short text": bytes([2 * (len(plain) + 1) + 1]) + plain,
        **{f"{h.__name__[8:]} hex": h(plain).hexdigest().encode() for h in (md5, sha256)},
        **{h.__name__[8:]: h(plain).digest() for h in (md5, sha256)},
    }
    return {f"one-time code {how}": shape for how, shape in shapes.items()}


def _base64(plain: bytes, offset: int) -> bytes:
    """What of a value is the same in base64 whatever stands around it, behind `offset` other bytes."""
    after = (3 - (offset + len(plain)) % 3) % 3
    return b64encode(b"\0" * offset + plain + b"\0" * after)[(0, 2, 3)[offset] : -4 if after else None]


def traces(values: Mapping[str, str], where: Mapping[str, bytes]) -> set[str]:
    """In which place which value is found in which shape."""
    return found(written(values), where)


def found(shapes: Mapping[str, bytes], where: Mapping[str, bytes]) -> set[str]:
    """In which place which shape is found."""
    return {
        f"{place}: {what}"
        for place, content in where.items()
        for what, shape in shapes.items()
        if shape in content
    }
