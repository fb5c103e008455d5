"""`tessera doctor`: a damaged home is looked at, mended, and works again."""


def test_a_damaged_home_is_named_mended_and_works_again(tessera, home, photo_folder):
    folder = photo_folder(2)
    assert tessera("add", "birds", folder).code == 0
    (found,) = (tessera("doctor"),)
    assert (found.code, found.out.splitlines()[-1]) == (0, f"Nothing is wrong with {home}.")
    parts = ["versions", "device", "weights", "storage", "servers", "space"]
    assert [line.split()[:2] for line in found.out.splitlines()[:-1]] == [
        [part, "fine"] for part in parts
    ]

    index = home / "history/runs/index.db"
    index.write_bytes(index.read_bytes()[:5_000] + b"\0" * 60_000)
    refused = tessera("add", "cats", folder)
    assert refused.code == 2
    assert f"Dagster's database {index} is damaged" in refused.err
    found = tessera("doctor")
    assert found.code == 1
    assert "1 found; `tessera doctor --repair` mends what can be mended." in found.out
    mended = tessera("doctor", "--repair")
    assert mended.code == 0, mended.out
    assert "Mended: It is set aside and made anew." in mended.out
    assert tessera("doctor").code == 0
    assert f"birds\t{folder}\n" in tessera("list").out
