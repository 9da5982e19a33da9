"""What is asked on the command line and cannot be: told at once, all of it, before torch is imported."""

import os
import resource
import subprocess
import sys

import pytest
import typer.main

import lowerbound as lb
from lowerbound.cli import checks, commands, guide, main
from lowerbound.cli.given import RULES
from lowerbound.cli.options import DATASETS, settings_like
from lowerbound.cli.train import layers
from lowerbound.data.load import NAMES
from lowerbound.data.masks import MASK_RULES
from lowerbound.names import mistakes, nested, parse_assignment

COMMANDS = typer.main.get_command(commands.app).commands


def given(*arguments):
    """What train gets of a command line."""
    return COMMANDS["train"].make_context("train", list(arguments)).params


def chosen(*arguments):
    return dict(layers(given("x.csv", *arguments)))["the command line"]


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        return left.value.code or 0, *capsys.readouterr()

    return run


# --------------------------------------------------------------------------------------- options of every day
@pytest.mark.parametrize(
    ("option", "value", "choice"),
    [
        ("--lr", "1e-3", {"training": {"learning_rate": 1e-3}}),
        ("--batch-size", "128", {"training": {"batch_size": 128}}),
        ("--patience", "5", {"training": {"patience": 5}}),
        ("--beta", "4", {"objective": {"beta": 4.0}}),
        ("--network", "conv", {"network": {"type": "conv"}}),
        ("--columns", "a,b", {"data": {"columns": ["a", "b"]}}),
        ("--columns", '"a, b",c', {"data": {"columns": ["a, b", "c"]}}),
        ("--columns", "a", {"data": {"columns": ["a"]}}),
        ("--drop", "id,name", {"data": {"schema": {"id": "ignored", "name": "ignored"}}}),
        ("--label", "kind", {"data": {"label_column": "kind"}}),
        ("--image-size", "64", {"data": {"image_size": 64}}),
        ("--image-size", "64,48", {"data": {"image_size": [64, 48]}}),
        ("--condition", "a,b", {"data": {"condition": ["a", "b"]}}),
        ("--seed", "3", {"data": {"seed": 3}, "training": {"seed": 3}}),
    ],
)
def test_an_option_stands_for_a_key_of_the_configuration(option, value, choice):
    assert chosen(option, value) == choice


def test_every_flag_names_an_option_that_there_is():
    there = {parameter.name for parameter in COMMANDS["train"].params}
    for name, paths in checks.FLAGS.items():
        assert name in there
        for path in paths:
            assert not list(mistakes(nested(path, None)))


def test_columns_that_are_dropped_are_laid_over_a_schema_of_the_user(tmp_path):
    path = tmp_path / "s.json"
    path.write_text('[{"name": "age", "kind": "integer"}, {"name": "id", "kind": "integer"}]')
    data = chosen("--schema", str(path), "--drop", "id")["data"]
    frame = pytest.importorskip("pandas").DataFrame(
        {"id": range(40), "age": [20 + i % 7 for i in range(40)], "size": [i**1.5 for i in range(40)]}
    )
    assert lb.data.load(frame, **data).spec.columns == ("age", "size")
    assert lb.data.load(frame, **chosen("--drop", "age,id")["data"]).spec.columns == ("size",)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("data.columns=a,b", ["a", "b"]),
        ("network.hidden=400,200", [400, 200]),
        ("network.hidden=[400, 200]", [400, 200]),
        ("network.hidden=400,", [400]),
        ('data.columns="a,b",c', ["a,b", "c"]),
        ("data.labels='a,b.npy'", "a,b.npy"),
        ("data.split=0.8,0.1,0.1", [0.8, 0.1, 0.1]),
        ("encoder.activation=tanh", "tanh"),
        ("network.hidden=[3", "[3"),
    ],
)
def test_a_list_is_written_with_commas(text, value):
    ((_, options),) = parse_assignment(text).items()
    assert list(options.values()) == [value]


def test_what_is_known_without_torch_is_what_the_library_knows():
    assert (DATASETS, RULES) == (NAMES, MASK_RULES)
    assert "training.learning_rate=" in settings_like("training.l")
    assert "prior.type=" in settings_like("prior.")


# ------------------------------------------------------------------------------------------------- wrong names
@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("lr=1e-3", "training.learning_rate"),
        ("training.lr=1e-3", "training.learning_rate"),
        ("kl_weight=4", "objective.beta"),
        ("training.beta=4", "objective.beta"),
        ("latent_dim=3", "latent"),
        ("z_dim=3", "latent"),
        ("hidden=3", "network.hidden"),
        ("data.image_sise=3", "data.image_size"),
        ("encoder.hiden=3", "encoder.hidden"),
        ("encodr.hidden=3", "encoder"),
        ("batch_size=3", "training.batch_size"),
        ("qqq=1", None),
    ],
)
def test_a_wrong_name_leads_to_the_one_that_is_meant_in_whatever_section(text, right):
    (mistake,) = mistakes(parse_assignment(text))
    assert mistake.right == right
    assert right is None or repr(right) in mistake.message or repr(right.split(".")[-1]) in mistake.message


@pytest.mark.parametrize(
    ("text", "words", "right"),
    [
        ("training.epochs=0", "training.epochs must be positive; got 0", None),
        ("training.betas=0.9,1.5", "must be two numbers, at least 0 and below 1", None),
        ("training.batch_size=2.5", "training.batch_size must be a whole number; got 2.5", None),
        ("training.batch_size=true", "training.batch_size must be a whole number; got True", None),
        ("training.keep=bst", "training.keep cannot be 'bst'; did you mean 'best'?", "best"),
        ("data.binarize=dynamc", "did you mean 'dynamic'?", "dynamic"),
        ("data.dequantize=maybe", "data.dequantize must be true or false; got 'maybe'", None),
        ("latent=0", "a positive integer; got 0", None),
        ("network.hidden=wide", "network.hidden must be a list of whole numbers", None),
        ("prior={type = 'flow', hidden = 'x'}", "prior.hidden must be", None),
    ],
)
def test_a_value_that_cannot_be_meant_is_known_without_torch(text, words, right):
    (mistake,) = mistakes(parse_assignment(text))
    assert words in mistake.message
    assert mistake.right == right


@pytest.mark.parametrize(
    "text",
    [
        "training.epochs=1",
        "training.clip=1",
        "latent=[2,3]",
        "network.hidden=8",
        "objective.beta=4",
        "data.schema=x",
    ],
)
def test_a_value_that_may_be_meant_is_none(text):
    assert not list(mistakes(parse_assignment(text)))


def test_a_sweep_is_checked_before_torch_is_imported(call):
    tried = ("--set", "training.epochs=0,1", "--set", "prior.type=flw,flow", "--set", "objective.bta=1..2")
    code, _, err = call("sweep", "digits", *tried)
    assert (code, err.count("\n  - ")) == (2, 3)
    for words in ("epochs must be positive", "did you mean 'flow'", "did you mean 'beta'"):
        assert err.count(words) == 1


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("--learning-rate", "--lr"),
        ("--kl-weight", "--beta"),
        ("--epoch", "--epochs"),
        ("--batchsize", "--batch-size"),
        ("--latent-dim", "--latent"),
        ("--bs=4", "--batch-size=4"),
    ],
)
def test_an_unknown_option_leads_to_the_one_that_is_meant(call, wrong, right):
    value = [] if "=" in wrong else ["3"]
    code, out, err = call("train", "digits", wrong, *value)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == " ".join(["try: lowerbound train digits", right, *value])


def test_an_option_that_another_command_has_is_not_suggested(call):
    code, _, err = call("plan", "train", "p.npz", "--learning-rate", 1)
    assert (code, err.count("\n")) == (2, 1)
    assert "train has no option --learning-rate; see `" in err


def test_all_that_is_wrong_is_told_at_once_with_the_command_that_works(call, tmp_path):
    (tmp_path / "things.csv").write_text("a,b\n1,2\n")
    code, out, err = call(
        *("train", "thing.csv", "--kl-weight", 4, "--set", "training.lr=1", "--precision", "fp31")
    )
    assert (code, out) == (2, "")
    first, *told, last = err.splitlines()
    assert first == "lowerbound: 4 things are wrong with this command:"
    assert all(line.startswith("  - ") for line in told)
    for words in ("--kl-weight", "thing.csv", "'lr'", "fp31"):
        assert sum(words in line for line in told) == 1
    wanted = "train things.csv --beta 4 --set training.learning_rate=1 --precision fp32"
    assert last == f"try: lowerbound {wanted}"
    code, _, err = call("train", "nowhere/x.csv", "--epochs", "0", "--lr", "-1", "--epochs", "0")
    assert code == 2
    assert "try:" not in err  # nobody knows what was meant
    assert err.count("\n  - ") == 3


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("use it (binarize='dynamic')", "use it (--binarize dynamic)"),
        ("columns=['a', 'b'] names", "--columns a,b names"),
        ("load them with condition=", "load them with --condition"),
        ("pass on_corrupt='skip'", "pass --set data.on_corrupt=skip"),
        ("pass image_size=, with", "pass --image-size, with"),
        ("batch_size=3: the run", "--batch-size 3: the run"),
        ("--set data.columns=a", "--set data.columns=a"),
        ("prior=... is left", "prior=... is left"),
    ],
)
def test_a_message_speaks_the_language_of_the_command_line(python, shell):
    assert checks.in_flags(python) == shell


@pytest.mark.processes
@pytest.mark.parametrize(
    "line",
    [
        "train digits --epochs 0",
        "train digits --set encoder.hiden=[3]",
        "train nowhere.csv",
        "train digits --config nowhere.toml",
        "train digits --preset vea",
        "evaluate runs/nowhere",
        "sample runs/nowhere -n 0",
        "plan sample nowhere",
    ],
)
def test_a_mistake_is_told_before_torch_is_imported(line, tmp_path):
    code = f"""
import sys
from lowerbound.cli import main
try:
    main({line.split()!r})
finally:
    assert "torch" not in sys.modules
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("lowerbound: ")
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------------------- helps
def test_each_help_ends_with_commands_that_parse(call):
    for name, lines in guide.EXAMPLES.items():
        code, out, _ = call(name, "--help")
        assert code == 0
        for line in lines:
            assert f"    {line}\n" in out
            program, command, *arguments = line.split()
            assert (program, command) == ("lowerbound", name)
            context = COMMANDS[name].make_context(name, arguments)
            assert not context.meta
            if name == "train":
                assert not [m for _, layer in layers(context.params) for m in mistakes(layer)]
    assert {name for name in COMMANDS if name != "plan"} == set(guide.EXAMPLES)


@pytest.mark.parametrize("columns", ["60", "80", "120"])
@pytest.mark.parametrize("group", [[], ["plan"]])
def test_summaries_are_whole_and_wrapped_at_words(call, monkeypatch, columns, group):
    monkeypatch.setenv("COLUMNS", columns)
    _, out, _ = call(*group, "--help")
    assert "..." not in out.replace("[ARGS]...", "")
    assert max(map(len, out.splitlines())) < int(columns)


def test_every_command_takes_a_plugin():
    plan = COMMANDS["plan"].commands
    for command in [c for name, c in COMMANDS.items() if name != "plan"] + [*plan.values()]:
        assert "--plugin" in [option for parameter in command.params for option in parameter.opts]


@pytest.mark.processes
def test_a_shell_can_complete_names(tmp_path):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "config.json").write_text("{}")
    for line, wanted in (("evaluate runs/", "runs/one\n"), ("train --preset beta-v", "beta-vae\n")):
        words = f"lowerbound {line}"
        done = subprocess.run(
            [sys.executable, "-m", "lowerbound"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "_LOWERBOUND_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split()) - 1),
            },
        )
        assert done.stdout == wanted
