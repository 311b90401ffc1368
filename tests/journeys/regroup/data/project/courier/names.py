"""Names of tasks that are sent from elsewhere."""

from enum import Enum

PURGE = "reporting.purge"
DIGEST = "mailing.tasks.send_digest"


class Job(str, Enum):
    """What the web process orders by name."""

    DAILY = "reporting.daily"
    LABEL = "reporting.tasks.print_label"
