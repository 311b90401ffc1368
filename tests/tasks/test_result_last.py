"""Where positional arguments go under ``result_last``."""

from __future__ import annotations

import inspect

import pytest
from celery import Celery

from migrator.tasks.result_last import result_last


@result_last
def charge(currency: str, reservation: object, *, loud: bool = False) -> tuple[object, ...]:
    return currency, reservation, loud


def test_a_result_goes_behind_arguments_that_are_named() -> None:
    assert charge("the result", currency="EUR") == ("EUR", "the result", False)


@pytest.mark.parametrize("args", [("EUR", 1), ("EUR",)])
def test_any_other_call_means_what_it_meant(args: tuple[object, ...]) -> None:
    named = {"reservation": 1} if len(args) == 1 else {}
    assert charge(*args, **named, loud=True) == ("EUR", 1, True)


def test_too_many_arguments_are_an_error() -> None:
    with pytest.raises(TypeError, match="multiple values"):
        charge("a", "b", currency="EUR")
    with pytest.raises(TypeError, match="missing"):
        charge(currency="EUR")


def test_its_parameters_can_be_read_and_a_bound_task_may_have_it() -> None:
    assert list(inspect.signature(charge).parameters) == ["currency", "reservation", "loud"]
    app = Celery("test", broker="memory://", set_as_current=False)

    @app.task(bind=True, shared=False, autoretry_for=(Exception,))
    @result_last
    def bound(self: object, currency: str, reservation: object) -> tuple[object, ...]:
        return type(self).__name__, currency, reservation

    assert bound.apply(("the result",), {"currency": "EUR"}).get() == ("bound", "EUR", "the result")
