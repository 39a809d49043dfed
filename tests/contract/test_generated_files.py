"""Files that are generated and checked in equal what the code would write now."""

import pytest

from deploy.generated import ROOT, generated

FILES = generated()


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_file_equals_the_code(name: str) -> None:
    path = ROOT / name
    assert path.is_file(), f"{name} is missing: make docs"
    assert path.read_text(encoding="utf-8") == FILES[name](), f"{name} is out of date: make docs"
