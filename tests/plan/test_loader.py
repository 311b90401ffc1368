"""Reading the plan: everything in one go, path first, with the nearest known name."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.errors import ExitCode, PlanError, UsageError
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan, PriorityLevel
from migrator.plan.placeholders import expand
from migrator.plan.processes import Role
from migrator.wire.message import Side, System

SAMPLE = Path(__file__).parents[2] / "fixtures/legacy_project/migration.toml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(SAMPLE)


def changed(folder: Path, *replacements: tuple[str, str]) -> Path:
    text = SAMPLE.read_text()
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new, 1)
    file = folder / "migration.toml"
    file.write_text(text)
    return file


def test_the_sample_plan_maps_the_fourteen_tasks_of_the_guide(plan: Plan) -> None:
    assert {task.name.removeprefix("tasks."): (task.priority, task.max_retries) for task in plan.tasks} == {
        "fetch_yahoo_stocks": (PriorityLevel.HIGH, 5),
        "fetch_alpha_stocks": (PriorityLevel.HIGH, 5),
        "fetch_binance_cryptos": (PriorityLevel.HIGH, 5),
        "fetch_coingecko_cryptos": (PriorityLevel.MEDIUM, 3),
        "fetch_unified_crypto": (PriorityLevel.HIGH, 5),
        "fetch_stock_prices": (PriorityLevel.MEDIUM, 3),
        "fetch_news": (PriorityLevel.MEDIUM, 3),
        "calculate_indicators": (PriorityLevel.MEDIUM, 3),
        "cleanup_old_data": (PriorityLevel.LOW, 1),
        "update_single_asset": (PriorityLevel.HIGH, 3),
        "cache_warming": (PriorityLevel.MEDIUM, 3),
        "health_check": (PriorityLevel.MEDIUM, None),
        "fetch_all_markets": (PriorityLevel.MEDIUM, 3),
        "batch_update_popular": (PriorityLevel.MEDIUM, None),
    }


def test_two_legacy_tasks_of_one_name_are_distinguished_by_system(plan: Plan) -> None:
    dramatiq = plan.mapping(System.DRAMATIQ, "health_check_task")
    celery = plan.mapping(System.CELERY, "tasks.celery_tasks.health_check_task")
    assert dramatiq is not None and celery is not None
    assert dramatiq.unified == celery.unified == "tasks.health_check"
    assert plan.mapping(System.CELERY, "health_check_task") is None


def test_a_single_mapping_is_the_primary_one(plan: Plan) -> None:
    primary = plan.primary("tasks.fetch_news")
    assert primary is not None and primary.name == "fetch_news_task"
    assert plan.primary("tasks.fetch_unified_crypto") is None


def test_processes_are_selected_by_side_and_role(plan: Plan) -> None:
    assert [p.name for p in plan.select(side=Side.LEGACY, role=Role.WORKER)] == [
        "legacy-dramatiq-worker",
        "legacy-celery-worker",
    ]


def test_every_problem_is_listed_in_one_go(tmp_path: Path) -> None:
    file = changed(
        tmp_path,
        ("queues = [", "queus = ["),
        ('system = "dramatiq"', 'system = "dramatik"'),
        ('task = "tasks.fetch_alpha_stocks"', 'task = "tasks.fetch_alpa_stocks"'),
        ('wrap = "symbol"', 'wrap = "symbl"'),
        ('reason = "the cache expires its own entries"', 'reason = ""'),
    )
    with pytest.raises(PlanError) as caught:
        load_plan(file)
    assert caught.value.exit_code is ExitCode.USAGE
    text = str(caught.value)
    assert text.startswith(f"{file}: ")
    for expected in (
        "legacy.dramatiq.queus: is not a known key (did you mean 'queues'?)",
        "legacy.dramatiq.queues: is missing",
        "task[2].replaces[1].system: 'dramatik' is not known (did you mean 'dramatiq'?)",
        "schedule[3].task: 'tasks.fetch_alpa_stocks' is no unified task (did you mean 'tasks.fetch_alpha_stocks'?)",
        "(did you mean 'symbol'?)",
        "retired[3].reason: needs a non-empty string",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('root = "apps/backend/src"', 'root = "../elsewhere"', "project.root: needs a path inside"),
        ('root = "apps/backend/src"', 'root = "/srv"', "project.root: needs a path inside"),
        ("max_retries = 5", 'max_retries = "5"', "task[0].max_retries: needs a whole number"),
        ("max_retries = 5", "max_retries = -1", "task[0].max_retries: needs a whole number"),
        ('priority = "HIGH"', 'priority = "HIHG"', "did you mean 'HIGH'?"),
        ('crontab = "*/5 * * * *"', 'crontab = "*/5 * * *"', "schedule[0].crontab: needs five fields"),
        ('to = "symbols" }', 'to = "symbolz" }', "'symbolz' is not a parameter of tasks.calculate_indicators"),
        ("  primary = true\n", "", "exactly one entry needs `primary = true`"),
        ('name = "tasks.celery_tasks.debug_task"', 'nam = "debug_task"', "did you mean 'name'?"),
        ('name = "tasks.celery_tasks.debug_task"', 'name = "tasks.celery_tasks.health_check_task"', "2 times"),
        ('{ rename = "count", to = "limit" }', '{ rename = "count" }', "arguments[0].to: is missing"),
        ('[migration]\nname = "sample-markets"', "", "migration: is missing"),
        ("[unified]\n", '[unified]\nkey_prefix = "x"\n', "unified.key_prefix: only legacy.celery can have one"),
    ],
)
def test_a_wrong_plan_is_refused_with_the_path_first(tmp_path: Path, old: str, new: str, expected: str) -> None:
    with pytest.raises(PlanError) as caught:
        load_plan(changed(tmp_path, (old, new)))
    assert any(expected in problem for problem in caught.value.problems), caught.value.problems


def test_a_missing_plan_and_a_broken_file_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="migrator init"):
        load_plan(tmp_path / "migration.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[[[")
    with pytest.raises(UsageError, match="can't be read"):
        load_plan(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="can't be read"):
        load_plan(broken)


def test_the_fingerprint_follows_meaning_not_formatting(tmp_path: Path, plan: Plan) -> None:
    same = changed(tmp_path, ("# Paths are relative", "# Other words: paths are relative"))
    assert load_plan(same).fingerprint == plan.fingerprint
    other = changed(tmp_path, ("max_retries = 5", "max_retries = 4"))
    assert load_plan(other).fingerprint != plan.fingerprint


def test_references_are_filled_in_from_the_environment() -> None:
    assert expand("redis://${HOST:-localhost}:${PORT}/0", {"PORT": "7"}, where="x") == "redis://localhost:7/0"
    assert expand("no reference", {}, where="x") == "no reference"
    with pytest.raises(UsageError, match=r"broker: the environment variable PORT is not set"):
        expand("${PORT}", {}, where="broker")


def test_every_problem_has_its_line(tmp_path: Path) -> None:
    file = changed(
        tmp_path, ("max_retries = 5", 'max_retries = "5"'), ('crontab = "*/5 * * * *"', 'crontab = "0 25 * * *"')
    )
    with pytest.raises(PlanError) as caught:
        load_plan(file)
    lines = file.read_text().splitlines()
    for problem, text in zip(caught.value.problems, ('max_retries = "5"', 'crontab = "0 25 * * *"'), strict=True):
        assert problem.startswith(f"line {lines.index(text) + 1}: ")


@pytest.mark.parametrize(
    "crontab", ["0 25 * * *", "60 * * * *", "0 0 30 2 *", "0 0 * * 8", "0 0 0 * *", "x * * * *", "*/ * * * *"]
)
def test_a_time_that_beat_would_not_take_is_refused(tmp_path: Path, crontab: str) -> None:
    with pytest.raises(PlanError, match=r"schedule\[0\].crontab: is no time that Celery knows"):
        load_plan(changed(tmp_path, ('crontab = "*/5 * * * *"', f'crontab = "{crontab}"')))


@pytest.mark.parametrize(
    "crontab", ["0 3 * * *", "*/15 8-18 * * mon-fri", "0 0 1,15 jan *", "5 4 29 2 sun", "0 22-2/2 * * *"]
)
def test_a_time_that_beat_takes_is_accepted(tmp_path: Path, crontab: str) -> None:
    plan = load_plan(changed(tmp_path, ('crontab = "*/5 * * * *"', f'crontab = "{crontab}"')))
    assert plan.schedule[0].crontab == crontab


URL = 'broker = "${CELERY_BROKER_URL:-redis://localhost:6379/0}"'


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (URL, 'broker = "http://localhost:6379/0"', "legacy.celery.broker: is no URL of a Redis or RabbitMQ server"),
        (URL, 'broker = "localhost:6379"', "legacy.celery.broker: is no URL of a Redis or RabbitMQ server"),
        (URL, 'broker = "redis://localhost:port/0"', "legacy.celery.broker: this is no URL of a Redis server"),
        (URL, 'broker = "${B:-http://x}"', "legacy.celery.broker: is no URL of a Redis or RabbitMQ server"),
        ('settings = "core.settings"', 'settings = "core/settings.py"', "project.settings: needs a dotted name"),
        ('modules = ["tasks.celery_tasks"]', 'modules = ["tasks/celery_tasks"]', "legacy.celery.modules[0]: needs a"),
        ('path = "tasks.unified_tasks.fetch_yahoo_stocks"', 'path = "tasks.x:y"', "task[0].path: needs a dotted name"),
        ('retire = ["', 'retire = ["../', "project.retire[0]: needs a path inside the plan's folder"),
        ('install_to = "', 'install_to = "/', "project.install_to: needs a path inside the plan's folder"),
    ],
)
def test_urls_names_and_paths_that_can_not_hold_are_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    with pytest.raises(PlanError) as caught:
        load_plan(changed(tmp_path, (old, new)))
    assert any(expected in problem for problem in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    "url", ["${BROKER}", "${B}://x/0", "${S:-redis://h}/1", "redis+socket:///run/redis.sock", "pyamqp://h//"]
)
def test_a_url_that_the_environment_completes_is_accepted(tmp_path: Path, url: str) -> None:
    assert load_plan(changed(tmp_path, (URL, f'broker = "{url}"'))).endpoint(System.CELERY) is not None


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(PlanError) as caught:
        load_plan(changed(tmp_path, (URL, 'broker = "http://user:s3cret@host/0"')))
    assert "s3cret" not in str(caught.value)


def test_each_open_decision_is_named_once_and_nothing_else_is_said_of_it(tmp_path: Path) -> None:
    file = changed(
        tmp_path,
        ('root = "apps/backend/src"', 'root = "DECIDE"'),
        ('broker = "${DRAMATIQ_BROKER_URL:-redis://localhost:6379/0}"', 'broker = "DECIDE: which server"'),
        ('priority = "HIGH"', 'priority = "DECIDE"'),
        ('crontab = "*/5 * * * *"', 'every_s = "DECIDE"'),
        ('reason = "the cache expires its own entries"', 'reason = "DECIDE: why"'),
        ('{ rename = "count", to = "limit" }', '{ rename = "count", to = "DECIDE" }'),
    )
    with pytest.raises(PlanError) as caught:
        load_plan(file)
    assert caught.value.exit_code is ExitCode.USAGE
    named = [problem for problem in caught.value.problems if "still to be decided" in problem]
    assert len(named) == 6
    lines = file.read_text().splitlines()
    for problem in named:
        assert "DECIDE" in lines[int(problem.removeprefix("line ").partition(":")[0]) - 1]
    assert len(caught.value.problems) == len(named), caught.value.problems


def test_the_word_in_another_one_and_in_a_comment_is_no_decision(tmp_path: Path) -> None:
    file = changed(tmp_path, ('reason = "the cache expires its own entries"', 'reason = "UNDECIDED once" # DECIDE'))
    assert any(retired.reason == "UNDECIDED once" for retired in load_plan(file).retired)


def test_a_draft_may_have_open_decisions_and_no_other_problem(tmp_path: Path) -> None:
    file = changed(tmp_path, ('priority = "HIGH"', 'priority = "DECIDE"'))
    assert load_plan(file, draft=True).tasks
    with pytest.raises(PlanError, match="max_retries"):
        load_plan(
            changed(tmp_path, ('priority = "HIGH"\nmax_retries = 5', 'priority = "DECIDE"\nmax_retries = "5"')),
            draft=True,
        )
