"""The commands together: what they import, and what their help says."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestration.cli.main import COMMANDS, cli
from support.whole_phrases import fragments_of

ROOT = Path(__file__).parents[3]
COMMAND_FILES = ROOT / "orchestration" / "cli"
KEY_COMMANDS = [("key", "new"), ("key", "list"), ("key", "revoke")]
LEAF_COMMANDS = [*((name,) for name in COMMANDS if name != "key"), *KEY_COMMANDS]


def context_of(names: tuple[str, ...]) -> click.Context:
    """Return the context in which a command's help is written, as its group would make it."""
    context = click.Context(cli, info_name="tessera", show_default=True)
    for name in names:
        assert isinstance(context.command, click.Group)
        command = context.command.get_command(context, name)
        context = click.Context(command, parent=context, info_name=name)
    return context


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["nothing"], ["list", "--help"], ["key", "new", "--help"]],
)
def test_what_runs_nothing_imports_neither_dagster_nor_another_command(arguments):
    script = (
        "import sys; from orchestration.cli.main import main\n"
        f"sys.argv = ['tessera', *{arguments}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "known = {'dagster', 'pydantic', 'pandas', 'torch', 'mlflow', 'orchestration.cli.map'}\n"
        "print('imported:', *(known & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert ran.stdout.splitlines()[-1] == "imported:"


def test_each_command_has_a_file_and_a_line_in_the_help(capsys):
    cli.main(["--help"], prog_name="tessera", standalone_mode=False)
    shown = capsys.readouterr().out
    for name, short_help in COMMANDS.items():
        assert f"  {name}" in shown
        assert short_help in shown
        assert not fragments_of(short_help)
        assert context_of((name,)).command.name == name


def test_each_file_is_a_command():
    files = {file.stem for file in COMMAND_FILES.glob("*.py")}
    assert files == {*COMMANDS, "main", "__main__", "__init__"}


def test_a_command_that_there_is_not_is_a_mistake_in_the_call():
    with pytest.raises(click.UsageError, match="nothing"):
        cli.main(["nothing"], standalone_mode=False)


@pytest.mark.parametrize("names", LEAF_COMMANDS, ids=" ".join)
def test_helps_are_whole_phrases_and_show_the_defaults(names):
    context = context_of(names)
    text = context.command.help
    first = text.split("\n\n")[0]
    assert first[0].isupper()
    assert first[-1] in ".?"
    assert not set(fragments_of(text)) - {"no full stop at the end"}
    for option in context.command.params:
        if not isinstance(option, click.Option):
            continue
        assert not fragments_of(option.help or ""), (names, option.name, option.help)
        extra = option.get_help_extra(context)
        default = option.get_default(context)
        # The default of a lone flag is that it is not given.
        if isinstance(default, str | int | float | list) and default is not False:
            assert extra.get("default"), (names, option.name)


def test_keys_have_the_three_commands_that_are_known():
    group = context_of(("key",)).command
    assert isinstance(group, click.Group)
    assert set(group.commands) == {name for _, name in KEY_COMMANDS}
