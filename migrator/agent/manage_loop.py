"""Run management commands one after the other, without importing the project again for each.

Never imported: its text is what ``manage.py shell --command`` executes inside the project
(:mod:`migrator.project.manage_server`). Each line read is a JSON list of arguments, each answer one line that begins
with ``migrator-answer``; whatever else the project prints is ignored. Ends at the end of its input. Uses Django and the
standard library only.
"""


def serve() -> None:
    import io
    import json
    import sys
    import traceback

    from django.core.management import call_command, get_commands, load_command_class
    from django.db import connections

    answers = sys.stdout
    for name in ("dumpdata", "migrate", "showmigrations"):
        load_command_class(get_commands()[name], name)
    for line in sys.stdin:
        output, errors, code = io.StringIO(), "", 0
        try:
            call_command(*json.loads(line), stdout=output, stderr=output)
        except SystemExit as end:
            code, errors = (0, "") if not end.code else (1, str(end.code))
        except Exception as error:  # noqa: BLE001 - any exception of a command is its answer
            code, errors = 1, "".join(traceback.format_exception_only(type(error), error))
        finally:
            connections.close_all()
        answer = json.dumps({"code": code, "output": output.getvalue(), "errors": errors})
        answers.write(f"\nmigrator-answer {answer}\n")
        answers.flush()


serve()
