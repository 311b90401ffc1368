import os

SECRET_KEY = "only for tests"
USE_TZ = True
INSTALLED_APPS = ["shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nonexistent/never-opened.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://localhost:1"}}
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
SHOP_BROKER_URL = os.environ["SHOP_BROKER_URL"]
SUPPLIER_URL = os.environ["SUPPLIER_URL"]
