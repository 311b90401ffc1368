"""Move a live Django project from Dramatiq and an old Celery layout to one Celery task module.

The parts, in the order data flows: :mod:`migrator.plan` (what becomes what), :mod:`codemods` (source),
:mod:`checks` (parity), :mod:`migrator.runner` with :mod:`migrator.steps` (cutover and rollback),
:mod:`migrator.transfer` (messages in flight), and :mod:`migrator.tasks` (the Django app that goes to production).
"""

__version__ = "0.1.0"
