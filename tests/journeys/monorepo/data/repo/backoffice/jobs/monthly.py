from jobs.tasks import notify_customer, place_order


def close_month(refs):
    return [place_order(ref, "total") for ref in refs] + [notify_customer(ref) for ref in refs]
