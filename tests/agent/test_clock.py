"""A frozen clock: every way to ask for the time, by whoever holds the functions, in each Python that projects run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from environments import interpreter

from migrator.agent import clock

CODE = """
import datetime as dt, importlib.util, sys, time, uuid
from datetime import datetime
from time import gmtime, localtime, time as early

spec = importlib.util.spec_from_file_location("clock", sys.argv[1])
clock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(clock)
utc = dt.timezone.utc
moment = datetime(2024, 2, 29, 12, 30, 0, 123456, tzinfo=utc)


class Own(datetime):
    pass


def told(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def refusals():
    return [told(lambda: datetime.now("x")), told(lambda: time.localtime(1e30)), told(lambda: time.strftime(1))]


running = refusals()
before = early()
for _ in range(3):
    with clock.frozen(moment):
        for _ in range(100):
            assert early() == time.time() == moment.timestamp()
            assert time.time_ns() == time.clock_gettime_ns(time.CLOCK_REALTIME) == 1709209800123456000
            assert time.clock_gettime(time.CLOCK_REALTIME) == moment.timestamp()
            assert datetime.now(utc) == moment and datetime.now(tz=utc) == moment
            assert datetime.now() == moment.astimezone().replace(tzinfo=None)
            assert type(Own.now(utc)) is Own and Own.now(utc) == moment
            assert datetime.utcnow() == moment.replace(tzinfo=None)
            assert datetime.today() == datetime.now() and dt.date.today() == datetime.now().date()
            assert gmtime()[:5] == (2024, 2, 29, 12, 30) and localtime() == time.localtime(moment.timestamp())
            assert time.strftime("%Y-%m") == "2024-02" and time.ctime()[-4:] == time.asctime()[-4:] == "2024"
            assert abs((uuid.uuid1().time - 0x01B21DD213814000) / 1e7 - moment.timestamp()) < 1
        assert time.strftime("%Y", time.gmtime(0)) == "1970" and time.gmtime(0).tm_year == 1970
        went = time.monotonic(), time.perf_counter(), time.clock_gettime(time.CLOCK_MONOTONIC)
        time.sleep(0.01)
        assert all(after > before_ for before_, after in zip(went, (
            time.monotonic(), time.perf_counter(), time.clock_gettime(time.CLOCK_MONOTONIC))))
        assert refusals() == running
    assert before <= early() < before + 60 and before <= datetime.now().timestamp() < before + 60
    assert time.localtime()[:3] == datetime.now().timetuple()[:3] and uuid.uuid1()
print("frozen")
"""


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_every_way_to_ask_tells_the_frozen_moment(version: str, zone: str) -> None:
    command = [interpreter(version), "-W", "ignore", "-c", CODE, str(Path(clock.__file__))]
    done = subprocess.run(command, env={"TZ": zone}, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "frozen\n", done.stderr
