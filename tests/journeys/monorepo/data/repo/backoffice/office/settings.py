SECRET_KEY = "not-secret"
INSTALLED_APPS = ["jobs"]
