from itertools import pairwise

import pytest

from assets.methods.plotting.text import (
    fitting,
    format_values,
    in_lines,
    in_points,
    printable,
    text_length,
    wrapped,
)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("cat.jpg", "cat.jpg"),
        ("a\nb\t c", "a b c"),
        ("写真.jpg", "??.jpg"),
        ("é − ß", "é − ß"),
        ("0123456789abcdef.jpeg", "01234….jpeg"),
    ],
)
def test_names_are_written_on_one_line(text, written):
    assert printable(text, 11) == written


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([0, 0.5, 1], ["0.00", "0.50", "1.00"]),
        ([0.031, 0.518], ["0.03", "0.52"]),
        ([0.9951, 0.99513], ["0.995100", "0.995130"]),
        ([0.0, 2e-5, 4e-5], ["0", "2.0e-05", "4.0e-05"]),
        ([1.00e-4, 1.05e-4], ["1.000e-04", "1.050e-04"]),
        ([0.42], ["0.42"]),
        ([0.9996], ["0.9996"]),
        ([3.12e-5], ["3.12e-05"]),
        ([0.0], ["0"]),
    ],
)
def test_values_have_the_digits_that_tell_them_apart(values, written):
    assert format_values(values) == written


def test_a_name_that_fits_is_written_whole():
    # Two narrow letters are shorter than the ellipsis that would stand for them.
    for name in ("cat.jpg", "WWWWii", "{}"):
        room = text_length(f"P({name})", 20, "bold")
        assert fitting("P({})", name, room, 20, "bold") == f"P({name})"


@pytest.mark.parametrize("room", [0, 60, 100, 150, 300, 420])
def test_a_name_that_does_not_fit_is_as_long_as_the_room_lets_it(room):
    name = "a name that is much longer than there is room.jpg"
    texts = [f"model {printable(name, longest)}" for longest in range(1, 60)]
    fit = [text for text in texts if text_length(text, 20) <= room] or texts[:1]
    assert fitting("model {}", name, room, 20) == fit[-1]


def test_a_text_is_as_long_as_its_longest_line():
    long = text_length("a longer line", 20)
    assert text_length("short\na longer line", 20) == long > text_length("short", 20) > 0
    assert text_length("a longer line", 40) == pytest.approx(2 * long, rel=0.1)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_as_many_parts_are_joined_into_a_line_as_there_is_room_for(n):
    parts = ["one", "two", "six"]
    room = text_length(" · ".join(parts[:n]), 20)
    lines = {1: ["one", "two", "six"], 2: ["one · two", "six"], 3: ["one · two · six"]}
    assert in_lines(parts, " · ", room, 20) == lines[n]


def test_a_part_longer_than_the_room_has_a_line_of_its_own():
    room = text_length("one two", 20)
    parts = ["one", "two", "W" * 40, "six"]
    assert in_lines(parts, " ", room, 20) == ["one two", "W" * 40, "six"]


def test_a_point_is_a_72nd_of_an_inch_and_a_pixel_a_100th():
    assert in_points(100) == 72


def test_a_text_is_broken_between_words_into_lines_that_fit():
    text = "Each of these lines is as long as it can be, and not longer than that."
    lines = wrapped(text, 200, 14)
    assert " ".join(lines) == text
    assert all(text_length(line, 14) <= 200 for line in lines)
    for line, after in pairwise(lines):
        assert text_length(f"{line} {after.split()[0]}", 14) > 200


def test_a_word_that_is_longer_than_a_line_is_broken_too():
    lines = wrapped(f"a {'f' * 64} b", 120, 14)
    assert "".join(lines).replace(" ", "") == f"a{'f' * 64}b"
    assert all(text_length(line, 14) <= 120 for line in lines)
    assert wrapped("ab", 1, 14) == ["a", "b"]
    assert wrapped("", 100, 14) == []
    assert wrapped("写\n真", 100, 14) == ["? ?"]
