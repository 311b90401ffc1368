"""Every reason code of a leftover: what it means and what to do. RUNBOOK.md lists the same."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from migrator.report import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCode:
    """One reason for leaving a place alone, or for listing a change."""

    what: str
    remedy: str
    severity: Severity = Severity.ERROR


def _left(what: str, remedy: str) -> ReasonCode:
    return ReasonCode(what=what, remedy=remedy)


def _notice(what: str, remedy: str) -> ReasonCode:
    return ReasonCode(what=what, remedy=remedy, severity=Severity.WARNING)


#: About uses of Dramatiq that are as they should be where actors stay.
DRAMATIQ_CODES = frozenset({"DRAMATIQ-USE", "DRAMATIQ-PACKAGE", "RAISED-RETRY", "CURRENT-MESSAGE"})

REASONS = MappingProxyType(
    {
        "RETIRED-TASK": _left("the task has no successor", "remove the call, or map the task in the plan"),
        "LEGACY-NAME": _left("the module is removed and this name of it is no task", "move it to a module that stays"),
        "LEGACY-STRING": _left("a string names a legacy task or module", "write the unified name if it is meant"),
        "COMPUTED-NAME": _left("a task name is computed", "write the unified name out"),
        "AMBIGUOUS": _left("may be a legacy task or something else", "give it one meaning, then run again"),
        "MIXED-TASKS": _left("several tasks whose arguments change differently", "write one call per task"),
        "LINKED": _left("stays because something that it belongs to stays", "settle the finding about that first"),
        "ESCAPES": _left(
            "an actor is handed on and its use can't be followed",
            "hand on the method itself, such as task.delay",
        ),
        "SHARED-CONTAINER": _left(
            "actors in a container that other files read stay: not every use of it can be followed",
            "send the task by its name where it is used, or change the container and all its readers by hand",
        ),
        "HANDED-ON": _notice("a task is handed on: was an actor, is a Celery task", "check what reads it"),
        "UNRESOLVED-RECEIVER": _left(
            "sends something that can't be resolved", "call .delay or .apply_async on the task"
        ),
        "STARRED-ARGUMENTS": _left("arguments are unpacked and the plan changes them", "write the arguments out"),
        "COMPUTED-ARGUMENTS": _left("arguments are computed and the plan changes them", "write them as literals"),
        "ARGUMENTS": _left("the arguments do not fit the legacy task", "correct the call"),
        "DROPPED-EFFECT": _left("the plan drops an argument whose expression may do something", "take it out by hand"),
        "UNITS": _left("can't be proved to be a number of milliseconds", "write seconds by hand"),
        "OWN-ACTOR": _left(
            "is sent in the module that defines it, and the plan does not retire that file",
            "retire the file, or send the unified task",
        ),
        "DELEGATES": _left(
            "a unified task is made of a legacy one whose file the plan retires",
            "move its body to the unified module, or take the file out of `retire`",
        ),
        "UNIFIED-SENDS": _left("the unified module sends a legacy task", "send this module's own task"),
        "OPTION": _left("an option without an equivalent in Celery", "decide what it should become"),
        "OPTIONS-UNPACKED": _left("options are unpacked, so they can't be read", "write the options out"),
        "QUEUE-OPTION": _left("names a queue that no unified worker consumes", "remove it or name a unified queue"),
        "PRIORITY-OPTION": _notice("a number as priority; its direction depends on the broker", "leave it to the task"),
        "OPTION-IGNORED": _notice("was ignored until now and is gone", "name it for apply_async if it is wanted"),
        "ACTOR-ATTRIBUTE": _left("an attribute that a Celery task doesn't have", "replace it by hand"),
        "MESSAGE-ATTRIBUTE": _left(
            "an attribute that an AsyncResult doesn't have", "read .id for .message_id, .get(timeout=…) for .get_result"
        ),
        "RESULT-ESCAPES": _notice("the result is handed on: was a Message, is an AsyncResult", "check what reads it"),
        "RESULT-MISSING": _left("non-blocking get_result raises ResultMissing", "ask .ready() first"),
        "AWAITED-SEND": _notice("the old code never got past this await", "check what follows it"),
        "ASYNC-CALL": _left(
            "awaits an actor that becomes a plain function", "call it in a thread, or await its async part"
        ),
        "PIPELINE-ARGUMENTS": _left(
            "a pipeline appends the result last, a chain puts it first",
            "let the unified task take the result first, or write result_last = true for it in the plan",
        ),
        "PIPELINE": _left("a pipeline whose messages can't be followed", "write it as chain(a.s(), b.s())"),
        "COMPLETION": _left(
            "a completion callback is the body of a chord, which counts stored results",
            "write the chord where the group is run; its body is .si(…): the callback was not given the results",
        ),
        "SIGNATURE": _left(
            "a signature whose arguments the plan changes, and that may get a result",
            "name its arguments by hand: the result goes to the first parameter",
        ),
        "MODULE-DYNAMIC": _left("a legacy module is used in a way that can't be followed", "name the unified one"),
        "STAR-IMPORT": _left("a star import brings names that aren't tasks", "import by name"),
        "NO-TASK-LEFT": _left("imports a legacy module that is removed", "remove the import"),
        "DRAMATIQ-USE": _left("still uses Dramatiq", "settle what else is listed about it, or replace it by hand"),
        "LEGACY-CODE": _notice(
            "the legacy workers need it until the cutover",
            "remove it after `migrator complete`; a file with nothing else can be named under project.retire",
        ),
        "DRAMATIQ-SETUP": _left("sets up Dramatiq, and no actor is left that needs it", "remove it"),
        "ENCODER": _left(
            "Celery's JSON can neither carry the arguments nor store the results that only this encoder could",
            "hand over and return plain values, or set task_serializer, result_serializer and accept_content to pickle",
        ),
        "MIDDLEWARE": _left("Dramatiq middleware has no equivalent", "write it as Celery signals or a task class"),
        "ACTOR-OPTION": _left(
            "the actor can't be converted where it stands",
            "change what is named, or let the plan map it to a task that you write",
        ),
        "LONG-TASK": _notice(
            "may run for longer than Redis waits for an acknowledgement, and is then delivered a second time",
            "raise visibility_timeout in CELERY_BROKER_TRANSPORT_OPTIONS and in the plan above its longest run",
        ),
        "RAISED-RETRY": _left(
            "Dramatiq's Retry, which can't become the task's own retry here",
            "raise task.retry(countdown=seconds) in the task, outside of what catches it",
        ),
        "CURRENT-MESSAGE": _left(
            "Dramatiq's current message, of which more is used than the task's request has",
            "read task.request (id, retries, args, kwargs, delivery_info), or celery.current_task.request",
        ),
        "SCHEDULE-COMPUTED": _left("a schedule entry that can't be read", "move it to the plan's schedule by hand"),
        "SCHEDULE-USE": _left("asks for a schedule entry that is removed", "use the plan's entry instead, or none"),
        "SCHEDULE-JOB": _left("another scheduler sends a legacy task", "let beat send it: add a [[schedule]]"),
        "SCHEDULE-DIFFERS": _notice("says something else than the plan's schedule", "correct one of them"),
        "SCHEDULE-KEPT": _notice(
            "a schedule that the plan can't state stays as it is", "see that it means what the plan says"
        ),
        "SETTINGS": _left("the settings can't be completed safely", "add it by hand"),
        "DRAMATIQ-TEXT": _notice(
            "names Dramatiq: a dependency, a command, or rows of an app that goes",
            "keep it until the migration is completed, then take it out",
        ),
        "DRAMATIQ-PACKAGE": _left(
            "a package that needs Dramatiq: it can't be imported any more when that is uninstalled",
            "remove it, or replace it by what Celery has",
        ),
        "DRAMATIQ-SETTING": _notice(
            "a setting of Dramatiq, which no worker reads after the migration", "remove it, with what else reads it"
        ),
        "TEXT-NAME": _notice(
            "a text file names a legacy task, module or command",
            "run with --text, or correct it once the cutover is done",
        ),
        "PERIODIC-ROW": _left(
            "code or a fixture makes or finds a row of django_celery_beat that names a legacy task",
            "name the unified task there by hand; rows in the database are the cutover's",
        ),
        "LABEL-TAKEN": _left(
            "an app of the project has the label of the app that is installed, so that Django would not start",
            "give [project] another app_label, and an install_to of that name",
        ),
        "IN-PLACE-ADAPTER": _left("an in-place task whose arguments change", "use a new name for the unified task"),
        "FORWARDED": _notice("a patched name's assertions can't be followed", "check the arguments that they read"),
        "OTHER-PROJECT": _notice(
            "tasks of another project in the repository, which this plan does not touch",
            "give it a plan of its own, if it is to be migrated",
        ),
        "OVERLAP": _left("two rewrites want the same place", "do one by hand, then run again"),
        "UNUSED-IGNORE": _notice("it dismisses nothing", "remove it"),
        "TOO-LARGE": _left(
            "too large to be parsed, and names something of the plan",
            "look through it by hand; data is better kept in a file that is no Python",
        ),
        "UNPARSABLE": _left("can't be parsed", "correct it; nothing in it was checked"),
        "CELERY-APP": _left(
            "no Celery app is in the project, so tasks would be sent to Celery's default broker on this machine",
            "make one, `app.config_from_object('django.conf:settings', namespace='CELERY')`, and import it where "
            "every process that sends or runs tasks begins",
        ),
        "EXISTS": _left("a file that the installation would create is there with other content", "move it away"),
    }
)
