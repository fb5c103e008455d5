import pytest

from assets.resources.database import Database

SCHEMA = "CREATE TABLE IF NOT EXISTS numbers (number INTEGER)"


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "home" / "numbers.sqlite", SCHEMA)
    yield database
    database.close()


def numbers(database):
    with database.reading() as connection:
        return [row["number"] for row in connection.execute("SELECT number FROM numbers")]


def test_readers_see_a_transaction_once_it_is_over_and_do_not_wait_for_it(database):
    with database.transaction() as connection:
        connection.execute("INSERT INTO numbers VALUES (1)")
        assert numbers(database) == []
    assert numbers(database) == [1]


def break_off(database):
    with database.transaction() as connection:
        connection.execute("INSERT INTO numbers VALUES (1)")
        raise KeyError


def test_a_transaction_that_fails_changes_nothing_and_the_next_goes_on(database):
    with pytest.raises(KeyError):
        break_off(database)
    with database.transaction() as connection:
        connection.execute("INSERT INTO numbers VALUES (2)")
    assert numbers(database) == [2]


def test_a_database_is_opened_again_as_it_was(database, tmp_path):
    with database.transaction() as connection:
        connection.execute("INSERT INTO numbers VALUES (1)")
    again = Database(tmp_path / "home" / "numbers.sqlite", SCHEMA, "NORMAL")
    assert numbers(again) == [1]
    again.close()
