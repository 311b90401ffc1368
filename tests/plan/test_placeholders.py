"""Variables of a broker's URL are set so that the URL names another server, or it is said that they can't."""

from __future__ import annotations

import pytest

from migrator.plan.placeholders import leading_to

SCRATCH = "redis://127.0.0.1:5555/1"


@pytest.mark.parametrize(
    ("url", "values"),
    [
        ("${A:-redis://h:1/3}", {"A": "redis://127.0.0.1:5555/1"}),
        ("${A}", {"A": "redis://127.0.0.1:5555/1"}),
        ("${A:-amqp://user:secret@h:5672//}", {"A": "redis://127.0.0.1:5555/1"}),
        ("${A:-redis://h:1}/1", {"A": "redis://127.0.0.1:5555"}),
        ("${A}/1", {"A": "redis://127.0.0.1:5555"}),
        ("${A:-redis://h}/1", {"A": "redis://127.0.0.1:5555"}),
        ("${A:-rediss://:secret@h:6379}/1?ssl_cert_reqs=none", {"A": "redis://127.0.0.1:5555"}),
        ("redis://${H:-h}:${P:-6379}/1", {"H": "127.0.0.1", "P": "5555"}),
        ("redis://${H}:${P}/${D:-3}", {"H": "127.0.0.1", "P": "5555", "D": "1"}),
        ("redis://${S:-h:6379}/1", {"S": "127.0.0.1:5555"}),
    ],
)
def test_whatever_part_a_variable_holds(url: str, values: dict[str, str]) -> None:
    assert leading_to(url, {}, SCRATCH) == values


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:6379/1",
        "redis://${H}:6379/1",
        "redis://${H}:${P}/0",
        "redis://:${PASSWORD}@${H}:${P}/1",
        "rediss://${H}:${P}/1",
    ],
)
def test_what_stands_literally_is_not_led_elsewhere(url: str) -> None:
    assert leading_to(url, {}, SCRATCH) is None


def test_the_present_value_says_what_the_variable_holds() -> None:
    url, target = "amqp://${ACCOUNT}@${HOST:-h}:5672/${VHOST}", "amqp://u:p@rabbit:5672/scratch"
    values = leading_to(url, {"ACCOUNT": "u:p", "HOST": "rabbit", "VHOST": "real"}, target)
    assert values == {"ACCOUNT": "u:p", "HOST": "rabbit", "VHOST": "scratch"}
