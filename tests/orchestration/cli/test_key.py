import pytest

from assets.methods.common.errors import UserError
from assets.resources.collections import Collection, CollectionRegistry
from orchestration.api.keys import KeyLimits
from orchestration.cli.key import command, key_ring, list_keys, new_key


def test_the_last_line_is_the_key(home, capsys):
    new_key("birds", KeyLimits())
    text = capsys.readouterr().out.splitlines()[-1]
    assert key_ring().find(text).app == "birds"


def test_limits_are_those_given_and_else_the_defaults(home):
    command.main(["new", "birds", "--rate", "0.5", "--inputs", "0"], standalone_mode=False)
    limits = key_ring().all()[0].limits
    assert (limits.requests_per_second, limits.request_megabytes, limits.inputs) == (0.5, 64, 0)


def test_a_list_names_keys_by_their_ids_and_shows_none(home, capsys):
    new_key("birds", KeyLimits(requests_per_second=1500))
    text = capsys.readouterr().out.splitlines()[-1]
    (key,) = key_ring().all()
    list_keys()
    listed = capsys.readouterr().out
    assert listed.split("\t")[:2] == [key.id, "birds"]
    assert "1,500 requests/s, 64 MB a request, 100,000 inputs" in listed
    assert "revoked" not in listed
    assert text not in listed
    assert key.digest not in listed


def test_a_revoked_key_is_listed_as_such_and_opens_nothing(home, capsys):
    new_key("birds", KeyLimits())
    text = capsys.readouterr().out.splitlines()[-1]
    (key,) = key_ring().all()
    command.main(["revoke", key.id], standalone_mode=False)
    list_keys()
    assert "revoked 20" in capsys.readouterr().out
    assert key_ring().find(text) is None


def test_without_keys_the_list_is_empty(home, capsys):
    list_keys()
    assert capsys.readouterr().out == ""


def test_a_collection_of_other_photos_gets_no_key(home):
    CollectionRegistry(home).add(Collection("birds", "/photos"))
    with pytest.raises(UserError, match="has the source /photos"):
        new_key("birds", KeyLimits())
    assert not key_ring().any_ever()


def test_a_collection_of_posted_photos_gets_another_key(home):
    CollectionRegistry(home).add(Collection("birds", "inputs:"))
    new_key("birds", KeyLimits())
    new_key("birds", KeyLimits())
    assert len(key_ring().all()) == 2


def test_a_name_that_is_none_is_refused(home):
    with pytest.raises(UserError, match="cannot name a collection"):
        new_key("../x", KeyLimits())
