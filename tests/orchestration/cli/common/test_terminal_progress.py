import io
import logging

from rich.console import Console

from orchestration.cli.common.terminal_progress import TerminalProgress


def test_names_do_not_steer_the_terminal():
    written = io.StringIO()
    # A terminal that takes colours, which only we choose.
    progress = TerminalProgress(Console(file=written, force_terminal=True, color_system=None))
    progress.notify("[red]\x1b]0;title\x07.jpg was left out: https://bob:s3cr3t@host/")
    with progress.bars:
        progress.listener(logging.getLogger(), "[b]\x1b]0;title\x07.jpg", "windows")(1, 2)
    text = written.getvalue()
    assert "\x1b]0" not in text
    assert "\x07" not in text
    assert r"[red]\x1b]0;title\x07.jpg was left out: https://hidden@host/" in text
    assert r"[b]\x1b]0;title\x07.jpg" in text
