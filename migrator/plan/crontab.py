"""The five fields of a crontab, as Celery reads them. Source: ``celery/schedules.py`` ``crontab``."""

from __future__ import annotations

from functools import cache


@cache
def crontab_problem(text: str) -> str:
    """Return what is wrong with a crontab; empty if Celery takes it."""
    from celery.schedules import ParseException, crontab

    fields = text.split()
    if len(fields) != 5:
        return "needs five fields: minute hour day-of-month month day-of-week"
    minute, hour, day, month, weekday = fields
    try:
        crontab(minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday)
    except (ParseException, ValueError, IndexError) as error:
        return f"is no time that Celery knows: {str(error).rstrip('.')}"
    return ""
