"""Print to which database each connection of the project leads, by its settings and by the server's answer.

Never imported: its text is what ``manage.py shell --command`` executes inside the project, so it is asked of the same
process that runs its other commands. The answer is one line of JSON, the last one.
"""


def show() -> None:
    import json
    import sys
    from pathlib import Path

    from django.db import connections

    found = {}
    for alias in connections:
        given = connections[alias].settings_dict
        name = str(given["NAME"] or "")
        is_file = connections[alias].vendor == "sqlite" and ":memory:" not in name and "mode=memory" not in name
        found[alias] = [str(Path(name).absolute()) if is_file else name]
        if connections[alias].vendor == "postgresql" and not (given.get("TEST") or {}).get("MIRROR"):
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT current_database()")
                found[alias].append(cursor.fetchone()[0])
    sys.stdout.write("\n" + json.dumps(found) + "\n")


show()
