from courier.names import PURGE, Job
from courier.reports_app import app
from ledger.book import note


@app.task(name=Job.DAILY.value, bind=True)
def daily(self, ref, day="today"):
    note(self, ref, "daily", day)
    return {"ref": ref, "day": day}


@app.task(name="reporting.export", bind=True, queue="reports")
def export(self, report, fmt="csv"):
    note(self, report["ref"], "export", f"{report['day']}.{fmt}")


@app.task(bind=True)
def print_label(self, ref, size):
    note(self, ref, "label", size)


@app.task(name=PURGE, bind=True)
def purge(self, ref, days):
    note(self, ref, "purge", days)
