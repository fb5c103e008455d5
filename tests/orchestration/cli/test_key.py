import pytest

from assets.methods.common.errors import UserError
from assets.resources.collections import Collection, CollectionRegistry
from orchestration.cli.key import command, key_ring


def key(*arguments: str) -> None:
    """Run `tessera key ARGUMENTS...`."""
    command.main(arguments, standalone_mode=False)


def test_the_last_line_is_the_key(home, capsys):
    key("new", "birds")
    text = capsys.readouterr().out.splitlines()[-1]
    assert key_ring().find(text).app == "birds"


def test_limits_are_those_given_and_else_the_defaults(home):
    key("new", "birds", "--rate", "0.5", "--inputs", "0")
    limits = key_ring().all()[0].limits
    assert (limits.requests_per_second, limits.request_megabytes, limits.inputs) == (0.5, 64, 0)


def test_a_list_names_keys_by_their_ids_and_shows_none(home, capsys):
    key("new", "birds", "--rate", "1500")
    text = capsys.readouterr().out.splitlines()[-1]
    (made,) = key_ring().all()
    key("list")
    listed = capsys.readouterr().out
    assert listed.split("\t")[:2] == [made.id, "birds"]
    assert "1,500 requests/s, 64 MB a request, 100,000 inputs" in listed
    assert "revoked" not in listed
    assert text not in listed
    assert made.digest not in listed


def test_a_revoked_key_is_listed_as_such_and_opens_nothing(home, capsys):
    key("new", "birds")
    text = capsys.readouterr().out.splitlines()[-1]
    (made,) = key_ring().all()
    key("revoke", made.id)
    key("list")
    assert "revoked 20" in capsys.readouterr().out
    assert key_ring().find(text) is None


def test_without_keys_the_list_is_empty(home, capsys):
    key("list")
    assert capsys.readouterr().out == ""


def test_a_collection_of_other_photos_gets_no_key(home):
    CollectionRegistry(home).add(Collection("birds", "/photos"))
    with pytest.raises(UserError, match="has the source /photos"):
        key("new", "birds")
    assert not key_ring().any_ever()


def test_a_collection_of_posted_photos_gets_another_key(home):
    CollectionRegistry(home).add(Collection("birds", "inputs:"))
    key("new", "birds")
    key("new", "birds")
    assert len(key_ring().all()) == 2


def test_a_name_that_is_none_is_refused(home):
    with pytest.raises(UserError, match="cannot name a collection"):
        key("new", "../x")
