"""What help texts and descriptions must not be: fragments that nobody can read on their own."""

FRAGMENTS = ("by default", "Of the ", "Of everything", "In px", "At most.", "Likewise")


def fragments_of(text: str) -> list[str]:
    """Return what is wrong with a help text or a description; nothing if it is whole phrases."""
    wrong = [fragment for fragment in FRAGMENTS if fragment in text]
    if not text[:1].isupper():
        wrong.append("no capital at the beginning")
    if not text.endswith("."):
        wrong.append("no full stop at the end")
    if len(text.split()) < 2:
        wrong.append("one word")
    return wrong
