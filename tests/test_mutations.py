"""The list of wrong edits is fresh: each can be made, and somebody is named who should notice."""

import re

import pytest

from mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.file}: {mutation.name}")
def test_a_wrong_edit_can_be_made_and_has_a_test(mutation):
    compile(mutation.of((ROOT / mutation.path).read_text()), mutation.path, "exec")
    tests = re.findall(r"^def (test_\w+)", (ROOT / "tests" / mutation.tests).read_text(), re.MULTILINE)
    words = [word for word in re.findall(r"\w+", mutation.words) if word not in ("and", "or", "not")]
    assert not words or any(word in test for word in words for test in tests)


def test_there_are_many_and_each_has_a_name_of_its_own():
    assert len({(mutation.file, mutation.name) for mutation in MUTATIONS}) == len(MUTATIONS) >= 60


@pytest.mark.parametrize(("old", "new"), [("three", "four"), ("two", "four"), ("one", "one")])
def test_a_stale_edit_is_an_error(old, new):
    with pytest.raises(ValueError, match=f"vrn_lite/a.py, b: found . times: {old}"):
        Mutation("a.py", "b", "", "", old, new).of("one two two")
