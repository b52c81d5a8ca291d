"""``squeezedet``: its subcommands, their short names, and their help."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from unittest.mock import Mock

import pytest
from commands import SQUEEZEDET, copy_photo, error_line

import opencv_squeezedet as sd
from opencv_squeezedet import cli
from opencv_squeezedet.cli import errors, runner, targets, terminal
from opencv_squeezedet.cli.parser import make_parser


@pytest.fixture(autouse=True)
def picture(folder: Path) -> None:
    copy_photo("a.jpg")


def help_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main([*arguments, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("name", cli.SUBCOMMANDS)
def test_help_explains_every_argument(
    name: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = help_of([name], capsys)
    assert text.startswith(f"usage: squeezedet {name} ")
    words = " ".join(text.split())
    assert f" example: squeezedet {name} " in words
    for action in make_parser(import_module(f"opencv_squeezedet.cli.{name}"), f"squeezedet {name}")._actions:
        assert action.help
        for option in action.option_strings or [str(action.metavar)]:
            assert re.search(rf"(?<!\S){re.escape(option)}(?![\w-])", words)
    assert name != "eval" or re.search(r"--nms IOU [^-]*\(default: the model's setting\)", words)
    if columns >= 80:
        assert max(map(len, text.splitlines())) <= columns


def test_options_of_several_commands_read_the_same() -> None:
    shared: dict[str, set[str | None]] = {}
    names = ["--weights", "--backend", "--target", "--letterbox", "--nms", "--nms-kind", "--vote", "--top-n", "--recursive"]
    names += ["--every", "--batch", "--images", "--quiet"]
    for command in ("detect", "batch", "classify", "eval", "compress", "quantize", "inspect", "convert", "anchors"):
        for action in make_parser(import_module(f"opencv_squeezedet.cli.{command}"), command)._actions:
            for option in set(action.option_strings) & set(names):
                shared.setdefault(option, set()).add(action.help)
    assert {option: len(texts) for option, texts in shared.items()} == dict.fromkeys(names, 1)


def test_help_and_version_of_the_tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of([], capsys)
    assert re.findall(r"^  (\w+) +\w", text.partition("commands:")[2].partition("\n\n")[0], re.MULTILINE) == list(
        cli.SUBCOMMANDS
    )
    assert "example:\n  squeezedet " in text
    for arguments, expected in ((["--version"], "squeezedet"), (["detect", "--version"], "squeezedet detect")):
        with pytest.raises(SystemExit, match=r"^0$"):
            cli.main(arguments)
        assert capsys.readouterr().out == f"{expected} {sd.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "squeezedet: the following arguments are required: COMMAND (see squeezedet --help)"),
        (["fly"], "squeezedet: argument COMMAND: invalid choice: 'fly'"),
        (["--colour", "detect"], "squeezedet: "),
        (["detect"], "squeezedet detect: the following arguments are required: SOURCE (see squeezedet detect --help)"),
        (["detect", "a.jpg", "--nms", "2"], "squeezedet detect: argument --nms"),
        (["detect", "a.jpg", "--model", "nowhere"], "squeezedet detect: "),
    ],
)
def test_wrong_usage_names_the_command(arguments: list[object], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert error_line(cli.main, arguments, capsys).startswith(words)


def test_the_short_name_does_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["detect", "a.jpg", "missing.jpg", "--no-image"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("a.jpg: cat 0.")
    assert err.startswith("squeezedet detect: missing.jpg: ")
    assert cli.detect_main(["a.jpg", "missing.jpg", "--no-image"]) == 1
    assert capsys.readouterr() == (out, err.removeprefix("squeezedet "))


def test_no_subcommand_is_imported_before_it_runs() -> None:
    code = "import sys; from opencv_squeezedet import cli; print([n for n in sys.modules if n.startswith(cli.__name__ + '.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.rpartition(".")[2] for name in ast.literal_eval(done.stdout)}
    assert imported
    assert imported.isdisjoint(cli.SUBCOMMANDS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [["models", "list"], ["detect", "a.jpg", "--no-image"]])
def test_a_full_standard_output(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*SQUEEZEDET, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"squeezedet {arguments[0]}: cannot write to standard output: No space left on device"]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (None, 3, ""),
        (KeyboardInterrupt(), 130, ""),
        (errors.CommandError("no", 7), 7, "x: no\n"),
        (ImportError("the extra [y] is missing"), 2, "x: the extra [y] is missing\n"),
        (MemoryError("Unable to allocate 9 TiB"), 1, "x: not enough memory: Unable to allocate 9 TiB\n"),
    ],
)
def test_what_ends_a_command(
    error: BaseException | None, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner.guarded("x", Mock(side_effect=error, return_value=3)) == status
    assert capsys.readouterr() == ("", message)


def test_faults_of_what_the_user_names_are_one_line_and_status_2(tmp_path: Path) -> None:
    for error, line in (
        (FileNotFoundError(2, "No such file or directory", "a\nb"), "x: a\\nb: No such file or directory"),
        (FileNotFoundError("no model\nat b"), "x: no model at b"),
        (ValueError("it is wrong"), "x: it is wrong"),
        (ImportError("the extra [y] is missing"), "x: the extra [y] is missing"),
        (KeyError("z"), "x: 'z'"),
    ):
        with (
            pytest.raises(errors.CommandError, match=f"^{re.escape(line)}$") as caught,
            errors.usage_errors(KeyError, about="x: "),
        ):
            raise error
        assert caught.value.status == 2
    for passed in (BrokenPipeError(32, "Broken pipe"), TypeError("a mistake in the program")):
        with pytest.raises(type(passed)), errors.usage_errors():
            raise passed


def test_targets_are_checked_before_the_work() -> None:
    Path("folder").mkdir()
    inputs = {"one of the sources": [Path("a.jpg")], "what --x names": ["x", None]}
    targets.check_targets({"--a": "a.json", "--b": None, "--c": "-", "--d": Path("../a.json")}, inputs)
    for given, line in (
        ({"--a": "./a.jpg"}, "--a: ./a.jpg is one of the sources"),
        ({"--a": "folder/../x"}, "--a: folder/../x is what --x names"),
        ({"--a": "b", "--c": "folder/../b"}, "--c: folder/../b is the target of --a too"),
        ({"--a": "-", "--b": "-"}, "--b: - is the target of --a too"),
        ({"--a": "folder"}, "--a: folder is a folder"),
        ({"--a": "no/b"}, "--a: no/b: its folder does not exist"),
    ):
        with pytest.raises(errors.CommandError, match=f"^{re.escape(line)}$"):
            targets.check_targets(given, inputs)


def test_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ("name", "size"), [("a\nb", "9"), ("c", "1,024")]
    terminal.print_table(*rows, numbers=1)
    assert capsys.readouterr().out.splitlines() == ["name   size", "a\\nb      9", "c     1,024"]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "8")
    terminal.print_table(*rows)
    assert capsys.readouterr().out.splitlines() == ["\x1b[1mname  si\x1b[0m", "a\\nb  9", "c     1,"]


@pytest.mark.parametrize(
    "line",
    [
        *("classify --model squeezenet-v1.1 a.jpg --json loop", "eval loop", "eval a.jpg --html loop", "anchors loop/deeper"),
        *("label loop --teacher embedded -o out.json", "label a.jpg --teacher embedded -o loop", "train loop -o out"),
        *(
            "inspect loop",
            "convert embedded loop",
            "convert loop new.onnx",
            "detect a.jpg -o loop",
            "detect a.jpg --json loop",
        ),
        *("detect a.jpg --voc loop/deeper", "detect a.jpg --no-image --video-out loop"),
    ],
)
def test_circles_of_links(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    if line.startswith(("label", "train")):
        pytest.importorskip("torch", reason="the extra [train] brings torch")
    Path("loop").symlink_to("loop")
    assert error_line(cli.main, [*line.split()], capsys).startswith(f"squeezedet {line.split()[0]}: ")
