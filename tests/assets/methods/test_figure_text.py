import pytest

from assets.methods.figure_text import format_values, in_points, printable, text_length


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


def test_a_text_is_as_long_as_its_longest_line():
    long = text_length("a longer line", 20)
    assert text_length("short\na longer line", 20) == long > text_length("short", 20) > 0
    assert text_length("a longer line", 40) == pytest.approx(2 * long, rel=0.1)


def test_a_point_is_a_72nd_of_an_inch_and_a_pixel_a_100th():
    assert in_points(100) == 72
