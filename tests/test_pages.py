"""The pages: every path, command, setting and column that they name is there, and the README is read in five minutes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from bench.commands.config import config_dir
from bench.commands.diagnose_module import SETTINGS as MODULE_SETTINGS
from bench.commands.line import compose
from bench.commands.main import COMMANDS
from bench.commands.run_networks import SETTINGS as NETWORK_SETTINGS
from bench.engines.choice import ENGINES
from bench.peers.registry import PEERS
from bench.protocol.cells import DEFAULTS, FIELDS, Status, field_choices
from bench.protocol.columns import TABLES
from bench.protocol.fields import FIELD_LIST
from bench.protocol.grid import AXES
from bench.store.parts import PENDING
from tests.conftest import ROOT

PAGES = {
    name: (ROOT / name).read_text()
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "bench/README.md",
        "conf/README.md",
        "tests/README.md",
        "results/reference/README.md",
    )
}
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[1].split())

# Lines and characters of the README, and words of a sentence in it.
MOST_LINES, MOST_CHARACTERS, MOST_WORDS = 160, 12_000, 30


def prose(page: str) -> str:
    """Without code blocks, tables, pictures and the addresses of links."""
    text = re.sub(r"```.*?```", "\n\n", page, flags=re.DOTALL)
    text = re.sub(r"^\|.*$|^!\[.*$|^#.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def sentences(page: str) -> list[str]:
    parts = re.split(r"\n\s*\n|\n- |(?<=[.?!])\*{0,2}\s+", prose(page))
    return [" ".join(part.split()) for part in parts if part.strip()]


def code(page: str) -> list[str]:
    """What stands in backticks, in the text and in tables."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL))


def commands(page: str) -> list[str]:
    """Command lines: in blocks for the shell, and in backticks."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    found = [line.partition("  #")[0].strip() for line in [*lines, *code(page)]]
    return [line for line in found if re.match(r"(make|memcap)( |$)", line)]


def test_the_readme_is_read_in_five_minutes():
    readme = PAGES["README.md"]
    assert len(readme.splitlines()) <= MOST_LINES and len(readme) <= MOST_CHARACTERS
    long = [sentence for sentence in sentences(readme) if len(sentence.split()) > MOST_WORDS]
    assert long == []


@pytest.mark.parametrize("name", PAGES)
def test_every_link_and_picture_of_a_page_is_there(name):
    links = re.findall(r"\]\(([^)\s]+)\)", PAGES[name])
    for link in links:
        if not link.startswith("http"):
            path, _, anchor = link.partition("#")
            target = (ROOT / name).parent / path if path else ROOT / name
            assert target.exists(), link
            if anchor:
                headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
                assert anchor in [re.sub(r"[^\w -]", "", own.lower()).replace(" ", "-") for own in headings], link


@pytest.mark.parametrize("name", PAGES)
def test_every_path_that_a_page_names_is_there(name):
    here = (ROOT, ROOT / "bench", (ROOT / name).parent)
    for word in code(PAGES[name]):
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", word) and (word.endswith(("/", ".py", ".md", ".yaml", ".toml", ".h", ".cu"))):
            left = word.startswith("results/") and not word.startswith("results/reference")
            made = left or word in ("report.html", "config.yaml", "provenance.json", "tables/README.md", "README.md")
            assert made or any((folder / word).exists() for folder in here), word


@pytest.mark.parametrize("name", PAGES)
def test_every_command_that_a_page_names_can_be_given(name):
    for line in commands(PAGES[name]):
        words = shlex.split(line)
        given = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        if words[0] == "make":
            assert set(given) <= TARGETS, line
            grid = next((word.removeprefix("GRID=") for word in words if word.startswith("GRID=")), None)
            assert grid is None or (ROOT / f"conf/grid/{grid}.yaml").exists(), line
            known = set(re.findall(r"\$\((?:if \$\()?([A-Z]+)\b", MAKEFILE))
            assert {word.partition("=")[0] for word in words[1:] if "=" in word} <= known, line
            arguments = next((word.removeprefix("ARGS=") for word in words if word.startswith("ARGS=")), "")
            target = given[0] if given else ""
            composed = {"bench": "config", "diagnose": "diagnose"}.get(target)
            settings = shlex.split(arguments) + ([f"grid={grid}"] if grid else [])
        else:
            command = given[0] if given and given[0] in COMMANDS else "run"
            assert not given or given[0] in COMMANDS or words[1] == "-m", line
            composed = {"run": "config", "diagnose": "diagnose"}.get(command)
            settings = [word for word in words[1:] if "=" in word or word == "-m"]
        if any(word.startswith("model=") for word in settings):
            # Of a network of one's own, which has settings of its own.
            own = {"config": NETWORK_SETTINGS, "diagnose": MODULE_SETTINGS}[composed]
            assert {word.partition("=")[0].partition(".")[0] for word in settings} <= set(own), line
        elif composed and not {"--help", "--version"} & set(words):
            compose(composed, settings)


VOCABULARY = {
    *FIELDS,
    *AXES,
    *(f"grid.{axis}" for axis in (*AXES, "variants")),
    *TABLES,
    *(column.name for table in TABLES.values() for column in table.columns),
    *(choice for choices in field_choices().values() for choice in choices),
    *Status,
    *COMMANDS,
    *ENGINES,
    *PEERS,
    *(path.stem for path in config_dir().rglob("*.yaml")),
    *("run_dir", "device", "engine", "executor", "threads", "fresh", "n_predictions", "jacobian_rank", "null"),
    *("ratio", "most_cells", "memcap", "make", PENDING),
}


@pytest.mark.parametrize("name", ["README.md", "conf/README.md", "results/reference/README.md"])
def test_every_field_column_and_choice_that_a_page_names_is_one(name):
    words = [word for word in code(PAGES[name]) if re.fullmatch(r"[a-z_][a-z0-9_]*", word)]
    assert set(words) <= VOCABULARY, set(words) - VOCABULARY


def test_the_fields_of_the_page_of_settings_are_those_of_a_cell():
    rows = {}
    for field in FIELD_LIST:
        default = DEFAULTS[field.name]
        spelled = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        choices = field_choices().get(field.name)
        meaning = f"{field.meaning} ({', '.join(choices)})" if choices else field.meaning
        rows[field.name] = f"| `{field.name}` | {spelled} | {meaning} | {field.unit} |"
    told = re.findall(r"^\| `(\w+)` \|.*\|.*\|.*\|$", PAGES["conf/README.md"], re.MULTILINE)
    assert told == list(rows)
    for row in rows.values():
        assert row in PAGES["conf/README.md"].splitlines()


def test_the_grids_of_the_page_of_settings_are_those_of_conf_with_their_cells():
    told = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", PAGES["conf/README.md"], re.MULTILINE))
    assert sorted(told) == sorted(path.stem for path in (ROOT / "conf/grid").glob("*.yaml"))
    for name, cells in told.items():
        if cells.isdigit():
            (run,) = compose("config", [f"grid={name}"])
            assert len(run.cells) == int(cells), name


def test_the_page_of_tests_names_every_file_of_tests():
    files = [path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("*.py") if path.name != "__init__.py"]
    told = [
        line.split()[0]
        for block in re.findall(r"```text\n(.*?)```", PAGES["tests/README.md"], re.DOTALL)
        for line in block.splitlines()
    ]
    assert sorted(told) == sorted(map(str, files))


EXAMPLES = [(name, example) for name, page in PAGES.items() for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL)]


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[f"{name}-{k}" for k, (name, _) in enumerate(EXAMPLES)])
def test_the_python_examples_of_the_pages_run(name, example, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{example}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_make_help_lists_every_target_with_one_line():
    printed = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = printed.stdout.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(TARGETS)
    assert all(len(line.split()) > 2 for line in lines)


def test_make_bench_with_the_interpreter_at_hand_installs_nothing(tmp_path):
    arguments = f"ARGS=max_epochs=5 run_dir={tmp_path}/run"
    command = ["make", "bench", f"PYTHON={sys.executable}", "VENV=", "GRID=smoke", arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "-m pip" not in done.stdout and "setting up" not in done.stdout
    assert (tmp_path / "run" / "report.html").exists()
