"""Freeze the clock of this process: what ``time`` and ``datetime`` tell, to whatever asks them.

The functions of ``time`` stay the same objects and get other contents: those of one that calls Python, so that a
reference of an earlier ``from time import time`` tells the frozen moment too. ``datetime`` is one of the types that
can't be assigned to; its methods are replaced in its namespace. ``monotonic``, ``perf_counter`` and ``sleep`` go on.
Source: CPython's Include/cpython/methodobject.h (PyCFunctionObject), ``PyCFunction_NewEx``, ``PyObject_Call``,
``PyType_Modified``: "must be called after any manual modification of the attributes of a type".
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_VARARGS_AND_KEYWORDS = 0x0001 | 0x0002
_BILLION = 1_000_000_000


class _Definition(ctypes.Structure):
    """CPython's ``PyMethodDef``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("documentation", ctypes.c_char_p),
    )


class _Clock:
    """The frozen moment, and the functions as they were."""

    def __init__(self) -> None:
        #: Nanoseconds since the epoch; None while the clock runs.
        self.now_ns: int | None = None
        #: What a function that was replaced did before, by name.
        self.real: dict[str, Callable[..., Any]] = {}
        #: Never freed: functions of the interpreter point to them.
        self.definitions: list[_Definition] = []

    def seconds(self) -> float:
        """Return the frozen moment in seconds."""
        assert self.now_ns is not None
        return self.now_ns / _BILLION


_CLOCK = _Clock()


@contextmanager
def frozen(moment: datetime.datetime) -> Iterator[None]:
    """Freeze the clock at an aware moment."""
    freeze(moment)
    try:
        yield
    finally:
        unfreeze()


def freeze(moment: datetime.datetime) -> None:
    """Freeze the clock at an aware moment, until :func:`unfreeze`.

    Raises:
        RuntimeError: This interpreter does not let its clock be frozen.
    """
    _install()
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    _CLOCK.now_ns = (since.days * 86_400 + since.seconds) * _BILLION + since.microseconds * 1_000
    # Else the C library is asked, which reads a clock of its own.
    uuid._generate_time_safe = None  # type: ignore[attr-defined]
    uuid._last_timestamp = None  # type: ignore[attr-defined]


def unfreeze() -> None:
    """Let the clock run; no-op if it does."""
    _CLOCK.now_ns = None
    if _CLOCK.real:
        uuid._generate_time_safe = _CLOCK.real["uuid1"]  # type: ignore[attr-defined]


def _install() -> None:
    """Replace the functions, once for each process."""
    if _CLOCK.real:
        return
    if sys.implementation.name != "cpython":
        raise RuntimeError(f"the clock of {sys.implementation.name} can't be frozen, only that of CPython")
    uuid_time: Any = getattr(uuid, "_generate_time_safe", None)
    for name, instead in _replacements().items():
        _CLOCK.real[name] = _exchanged(getattr(time, name), instead)
    _CLOCK.real["uuid1"] = uuid_time
    # The namespace behind its read-only view.
    (namespace,) = gc.get_referents(vars(datetime.datetime))
    _CLOCK.real["now"], _CLOCK.real["utcnow"] = namespace["now"], namespace["utcnow"]
    namespace["now"], namespace["utcnow"] = classmethod(_now), classmethod(_utcnow)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))


def _exchanged(function: Any, instead: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of C call one of Python, and return one that does what it did before."""
    kind, head = type(function), object.__basicsize__
    call = ctypes.cast(ctypes.pythonapi.PyObject_Call, ctypes.c_void_p)
    definition = _Definition(function.__name__.encode(), call, _VARARGS_AND_KEYWORDS, None)
    _CLOCK.definitions.append(definition)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
    other: Callable[..., Any] = make(ctypes.addressof(definition), instead, function.__module__)
    part = ctypes.c_char * (kind.__basicsize__ - head)
    contents = [part.from_address(id(item) + head) for item in (function, other)]
    mine, its = contents[0].raw, contents[1].raw
    contents[0].raw, contents[1].raw = its, mine
    return other


def _replacements() -> dict[str, Callable[..., Any]]:
    """Return what the functions of ``time`` do instead; without a frozen moment, what they did before."""

    def nanoseconds() -> int | None:
        return _CLOCK.now_ns

    return {
        "time": _of_nothing("time", _CLOCK.seconds),
        "time_ns": _of_nothing("time_ns", nanoseconds),
        "clock_gettime": _of_clock("clock_gettime", _CLOCK.seconds),
        "clock_gettime_ns": _of_clock("clock_gettime_ns", nanoseconds),
        "gmtime": _of_present("gmtime", 0, _CLOCK.seconds),
        "localtime": _of_present("localtime", 0, _CLOCK.seconds),
        "ctime": _of_present("ctime", 0, _CLOCK.seconds),
        "asctime": _of_present("asctime", 0, time.localtime),
        "strftime": _of_present("strftime", 1, time.localtime),
    }


def _of_nothing(name: str, value: Callable[[], Any]) -> Callable[..., Any]:
    """One without arguments."""

    def call(*arguments: Any) -> Any:
        return _CLOCK.real[name](*arguments) if _CLOCK.now_ns is None else value()

    return call


def _of_clock(name: str, value: Callable[[], Any]) -> Callable[..., Any]:
    """One that is told which clock: others than that of the real time go on."""

    def call(*arguments: Any) -> Any:
        frozen_one = _CLOCK.now_ns is not None and arguments == (time.CLOCK_REALTIME,)
        return value() if frozen_one else _CLOCK.real[name](*arguments)

    return call


def _of_present(name: str, position: int, present: Callable[[], Any]) -> Callable[..., Any]:
    """One that takes the present for an argument that is not given, or None."""

    def call(*arguments: Any) -> Any:
        if _CLOCK.now_ns is not None and (len(arguments) == position or arguments[position:] == (None,)):
            arguments = (*arguments[:position], present())
        return _CLOCK.real[name](*arguments)

    return call


def _now(kind: Any, tz: Any = None) -> Any:
    """``datetime.now`` of whatever subclass; it rounds as that does."""
    if _CLOCK.now_ns is None:
        return _CLOCK.real["now"].__get__(None, kind)(tz)
    return _of_epoch(kind.fromtimestamp(_CLOCK.now_ns // _BILLION, tz))


def _utcnow(kind: Any) -> Any:
    if _CLOCK.now_ns is None:
        return _CLOCK.real["utcnow"].__get__(None, kind)()
    return _of_epoch(kind.fromtimestamp(_CLOCK.now_ns // _BILLION, datetime.timezone.utc).replace(tzinfo=None))


def _of_epoch(whole: Any) -> Any:
    """Add the part of a second: a float has not enough digits for it."""
    assert _CLOCK.now_ns is not None
    return whole.replace(microsecond=_CLOCK.now_ns % _BILLION // 1_000)
