"""Django settings. Everything that Zenith reads from the environment is read here.

docs/configuration.md explains the variables, `.env.example` lists them.
"""

import hmac
import os
import re
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONCE, NONE, SELF

from zenith_site.embedded.state import addresses, ensure_secret, read_secret
from zenith_site.env import Environment, WrongSetting, read_dotenv
from zenith_site.logs import logging_config
from zenith_site.notify.routes import ACCEPTED_ROUTES, ACCEPTED_THROTTLE, parse_routes, parse_throttle
from zenith_site.notify.signing import ACCEPTED_SECRET, is_signing_secret
from zenith_site.tracing import environment as tracing
from zenith_site.version import VERSION

_PACKAGE = Path(__file__).resolve().parent
# Whether this is a wheel's copy, which has the folders beside the packages inside this one (setup.py). It works in the directory
# in which it was started, where `.env` may be another application's, with that one's DATABASE_URL.
ZENITH_INSTALLED = (_PACKAGE / "_resources").is_dir()
ZENITH_RESOURCES = _PACKAGE / "_resources" if ZENITH_INSTALLED else _PACKAGE.parent
BASE_DIR = Path.cwd() if ZENITH_INSTALLED else _PACKAGE.parent
read_dotenv(Path(os.environ.get("ZENITH_ENV_FILE", "") or BASE_DIR / ("zenith.env" if ZENITH_INSTALLED else ".env")))
env = Environment(os.environ)

# --- The environment --------------------------------------------------------------------------------------------------

ZENITH_ENV = env.choice("ZENITH_ENV", ("development", "production"), "development")
PRODUCTION = ZENITH_ENV == "production"
DEBUG = env.boolean("ZENITH_DEBUG", default=False)
if DEBUG and PRODUCTION:
    raise WrongSetting(
        "ZENITH_DEBUG='true' is not accepted when ZENITH_ENV=production: it takes false (error pages reveal secrets)."
    )
# A relative path is relative to the clone, so that every process agrees, in whatever directory it was started; that of an
# installed Zenith is relative to the current directory.
ZENITH_DATA_DIR = BASE_DIR / Path(env.text("ZENITH_DATA_DIR", ".zenith")).expanduser()
ZENITH_HOST = env.text("ZENITH_HOST", "127.0.0.1")
ZENITH_PORT = env.integer("ZENITH_PORT", env.integer("PORT", 8000, minimum=1, maximum=65535), minimum=1, maximum=65535)

# --- Secrets ----------------------------------------------------------------------------------------------------------


def _secret_key() -> str:
    """Return the configured key, or, outside of production, one that is generated once."""
    key = env.secret("ZENITH_SECRET_KEY")
    if key and len(key) < 32:
        raise WrongSetting(
            "ZENITH_SECRET_KEY is too short: it takes at least 32 characters, such as `openssl rand -hex 32` prints."
        )
    if key:
        return key
    if PRODUCTION:
        # Only the image's `up` has generated one there, for the container in which it is everything.
        if key := read_secret(ZENITH_DATA_DIR, "secret_key"):
            return key
        raise WrongSetting(
            "ZENITH_SECRET_KEY is not set: production takes 32 characters or more, in it or in ZENITH_SECRET_KEY_FILE."
        )
    try:
        return ensure_secret(ZENITH_DATA_DIR, "secret_key", size=48)
    except OSError as error:
        setting = f"ZENITH_DATA_DIR={str(ZENITH_DATA_DIR)!r}"
        raise WrongSetting(f"{setting} is not accepted: it takes a writable directory ({error.strerror}).") from None


SECRET_KEY = _secret_key()
# The key of workers and nodes: with the site's own, their tasks could forge sessions. It is derived from that one, so that nobody
# has to set it, and does not reveal it.
ZENITH_WORKER_SECRET_KEY = hmac.new(SECRET_KEY.encode(), b"zenith worker", "sha256").hexdigest()
# If empty, zenith_site.auth.bootstrap generates one at the first start.
ZENITH_API_KEY = env.secret("ZENITH_API_KEY")
if ZENITH_API_KEY and len(ZENITH_API_KEY) < 20:
    raise WrongSetting("ZENITH_API_KEY is too short: it takes at least 20 characters, such as `openssl rand -hex 32` prints.")
ZENITH_ADMIN_USERNAME = env.text("ZENITH_ADMIN_USERNAME", "admin")
ZENITH_ADMIN_PASSWORD = env.secret("ZENITH_ADMIN_PASSWORD")

# --- Hosts, HTTPS -----------------------------------------------------------------------------------------------------

# The site's public URL; its path, if it has one, is the prefix of every path.
_public = env.site("ZENITH_PUBLIC_URL", example="https://zenith.example.com")
FORCE_SCRIPT_NAME = _public.path if _public and _public.path else None
_root = FORCE_SCRIPT_NAME or ""
# The loopback names are always allowed, for `manage.py up` and health probes.
_hosts = [*env.hosts("ZENITH_ALLOWED_HOSTS"), *([_public.host] if _public else [])]
ALLOWED_HOSTS = list(dict.fromkeys([*_hosts, "localhost", "127.0.0.1", "[::1]"]))
_origins = [*env.origins("ZENITH_CSRF_TRUSTED_ORIGINS"), *([_public.origin] if _public else [])]
CSRF_TRUSTED_ORIGINS = list(dict.fromkeys(_origins))
CSRF_FAILURE_VIEW = "zenith_site.auth.csrf.failure"
ZENITH_HTTPS = env.boolean("ZENITH_HTTPS", default=PRODUCTION)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ZENITH_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = f"{_root}/"
SECURE_SSL_REDIRECT = ZENITH_HTTPS
SECURE_REDIRECT_EXEMPT = [rf"^{re.escape(f'{_root}/'.lstrip('/'))}(health|ready|metrics)$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ZENITH_HTTPS else None
# The number of proxies that append to X-Forwarded-For; zenith_site/auth/address.py reads it.
ZENITH_TRUSTED_PROXIES = env.integer("ZENITH_TRUSTED_PROXIES", 0, minimum=0, maximum=10)
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if ZENITH_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = ZENITH_HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- The application --------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    # Only for its runserver: the app imports Twisted, some 20 MB in every worker and engine, which serve no pages.
    *(["daphne"] if sys.argv[1:2] == ["runserver"] else []),
    "whitenoise.runserver_nostatic",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "django_celery_results",
    "django_htmx",
    "csp",
    # For the static files of the API's documentation, which then needs no CDN.
    "ninja",
    "zenith_site",
    "zenith_site.notify",
    "tasks_app",
    "infra_app",
]

MIDDLEWARE = [
    "zenith_site.request_ids.RequestIdMiddleware",
    "zenith_site.metrics.http.MetricsMiddleware",
    "zenith_site.headers.HeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # Safe against BREACH: CSRF tokens differ in every response, and this adds a random length (docs/security.md).
    "django.middleware.gzip.GZipMiddleware",
    "zenith_site.problems.ProblemMiddleware",
    "zenith_site.api.HeadMiddleware",
    "zenith_site.quotas.QuotaMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "zenith_site.auth.audit.AuditMiddleware",
    "zenith_site.auth.middleware.ClosedByDefaultMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "csp.middleware.CSPMiddleware",
]
if tracing.is_enabled() and not tracing.missing():
    # After the middleware that sets the request's id.
    MIDDLEWARE.insert(1, "zenith_site.tracing.http.TracingMiddleware")

ROOT_URLCONF = "zenith_site.urls"
ASGI_APPLICATION = "zenith_site.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTHENTICATION_BACKENDS = ["zenith_site.auth.permissions.EverybodyMayLook"]
LOGIN_URL = LOGOUT_REDIRECT_URL = "login"
LOGIN_REDIRECT_URL = "tasks:overview"
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ZENITH_RESOURCES / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "zenith_site.notify.bell.bell",
                "tasks_app.web.nav_counts.context",
            ],
            # These are next to the views that use them, where Django does not search.
            "libraries": {
                "zenith": "tasks_app.web.templatetags.zenith",
                "blocks": "tasks_app.web.templatetags.blocks",
                "nodes": "infra_app.web.templatetags.nodes",
            },
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}

# --- Static files -----------------------------------------------------------------------------------------------------

STATIC_URL = f"{_root}/static/"
STATIC_ROOT = BASE_DIR / Path(env.text("ZENITH_STATIC_ROOT", str(ZENITH_DATA_DIR / "static"))).expanduser()
STATICFILES_DIRS = [ZENITH_RESOURCES / "static"] if (ZENITH_RESOURCES / "static").is_dir() else []
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "zenith_site.static_storage.StaticStorage"},
}
# Every page links to files by their hashed names; the plain names are never requested.
WHITENOISE_KEEP_ONLY_HASHED_FILES = True

# --- PostgreSQL -------------------------------------------------------------------------------------------------------

_DATABASE_URL = env.url("DATABASE_URL", schemes=("postgres", "postgresql"), example="postgres://user:password@host:5432/zenith")
_REDIS_URL = env.url("REDIS_URL", schemes=("redis", "rediss"), example="redis://:password@host:6379/0")
# Whether `manage.py up` starts the servers itself.
ZENITH_EMBEDDED_POSTGRES = not _DATABASE_URL
ZENITH_EMBEDDED_REDIS = not _REDIS_URL
_embedded = addresses(ZENITH_DATA_DIR)

DATABASES = {
    "default": {
        **environ.Env.db_url_config(_DATABASE_URL or _embedded.database_url),
        "ENGINE": "django.db.backends.postgresql",
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    },
}
# zenith_site/asgi.py sets this. Under ASGI every request runs in a thread of its own. A connection kept by a thread is never used
# again, and stays open until it is collected, so a pool replaces CONN_MAX_AGE (and halves the time of a request).
if os.environ.get("ZENITH_PROCESS") == "web":
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {"min_size": 1, "max_size": 20, "timeout": 5}

# --- Redis: the broker, the channel layer, the stream of task events and the rate limiter -----------------------------

ZENITH_REDIS_URL = _REDIS_URL or _embedded.redis_url
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [ZENITH_REDIS_URL]},
    },
}

ZENITH_TASK_MODULES = env.modules("ZENITH_TASK_MODULES")
ZENITH_CELERY_CONFIG = env.module("ZENITH_CELERY_CONFIG")
# How often one message may be delivered without its task's body ending; after that the task becomes a dead letter.
ZENITH_MAX_DELIVERIES = env.integer("ZENITH_MAX_DELIVERIES", 20, minimum=2, maximum=10_000)
# Whether drills, which fail or crash on purpose, may be sent and run.
ZENITH_DRILLS = env.boolean("ZENITH_DRILLS", default=not PRODUCTION)
# A task that returns more JSON than this fails with a clear error.
ZENITH_RESULT_MAX_BYTES = 1024 * 1024

# --- Celery; docs/reliability.md says what happens in each failure -----------------------------------------------------

for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND"):
    env.unset(name, "Celery would use it in place of REDIS_URL; unset it")
CELERY_BROKER_URL = ZENITH_REDIS_URL
CELERY_BROKER_TRANSPORT = "zenith_worker.wire.transport:Transport"
CELERY_BROKER_USE_SSL = {"ssl_cert_reqs": ssl.CERT_REQUIRED} if ZENITH_REDIS_URL.startswith("rediss:") else None
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A full Redis refuses commands on a working connection. Without this, Celery would end the worker.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 6 * 3600}
CELERY_RESULT_BACKEND = "zenith_worker.lasting_backend:LastingBackend"
CELERY_REDIS_BACKEND_USE_SSL = CELERY_BROKER_USE_SSL
CELERY_RESULT_EXTENDED = True
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = CELERY_EVENT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = TIME_ZONE
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TRACK_STARTED = True
CELERY_TASK_SOFT_TIME_LIMIT = 3300
CELERY_TASK_TIME_LIMIT = 3600
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CONSUMER = "zenith_worker.consumer:Consumer"
# Part of the ten seconds in which `manage.py up` stops everything; the servers need the rest.
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 5
CELERY_IMPORTS = ["tasks_app.builtin_tasks", *ZENITH_TASK_MODULES]
# For control/workers.py, which can restart a worker's pool.
CELERY_WORKER_POOL_RESTARTS = True
# Otherwise Celery replaces the handlers of LOGGING below with its own format.
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Celery's Django fixup closes the connection around every task unless this says how many may share one.
CELERY_DB_REUSE_MAX = 1_000_000

# --- Zenith's own -----------------------------------------------------------------------------------------------------

ZENITH_RATE_LIMIT = env.rate("ZENITH_RATE_LIMIT", "5/60s")
ZENITH_READ_RATE_LIMIT = env.rate("ZENITH_READ_RATE_LIMIT", "600/60s")
ZENITH_REFUSAL_RATE_LIMIT = env.rate("ZENITH_REFUSAL_RATE_LIMIT", "60/60s")
# Seconds that a connection may keep the server waiting (server_limits/), and open WebSockets at most (auth/socket_limit.py).
ZENITH_HEADER_TIMEOUT = env.integer("ZENITH_HEADER_TIMEOUT", 20, minimum=1, maximum=600)
ZENITH_BODY_TIMEOUT = env.integer("ZENITH_BODY_TIMEOUT", 120, minimum=1, maximum=3600)
ZENITH_SOCKETS_PER_USER = env.integer("ZENITH_SOCKETS_PER_USER", 50, minimum=1, maximum=100_000)
ZENITH_SOCKETS_PER_PROCESS = env.integer("ZENITH_SOCKETS_PER_PROCESS", 1000, minimum=1, maximum=100_000)
ZENITH_SOCKET_FRAME_LIMIT = env.rate("ZENITH_SOCKET_FRAME_LIMIT", "60/10s")
# In addition to the names that zenith_site/common/masking.py always masks.
ZENITH_MASK_KEYS = env.names("ZENITH_MASK_KEYS")
ZENITH_MASK_STORED = env.boolean("ZENITH_MASK_STORED", default=False)
ZENITH_WORKER_CONCURRENCY = env.integer("ZENITH_WORKER_CONCURRENCY", os.cpu_count() or 1, minimum=1, maximum=1000)
ZENITH_RETENTION_DAYS = env.integer("ZENITH_RETENTION_DAYS", 30, minimum=1, maximum=36_500)
# The lowest level of what tasks log that workers keep, or `off`; and how much is stored, of each task and of all.
ZENITH_TASK_LOGS = env.choice("ZENITH_TASK_LOGS", ("debug", "info", "warning", "error", "off"), "info")
ZENITH_TASK_LOG_LINES = env.integer("ZENITH_TASK_LOG_LINES", 5_000, minimum=10, maximum=100_000)
ZENITH_TASK_LOG_DAYS = env.integer("ZENITH_TASK_LOG_DAYS", 7, minimum=1, maximum=36_500)
ZENITH_TASK_LOG_MAX_MB = env.integer("ZENITH_TASK_LOG_MAX_MB", 2_048, minimum=16, maximum=10_000_000)
ZENITH_AUDIT_DAYS = env.integer("ZENITH_AUDIT_DAYS", 365, minimum=1, maximum=36_500)
ZENITH_DEAD_LETTER_DAYS = env.integer("ZENITH_DEAD_LETTER_DAYS", 90, minimum=1, maximum=36_500)
ZENITH_DEAD_LETTER_MAX = env.integer("ZENITH_DEAD_LETTER_MAX", 10_000, minimum=1, maximum=10_000_000)
# Applications to watch, with the URLs of their brokers; `manage.py prepare` stores them encrypted.
ZENITH_WATCH = env.secret("ZENITH_WATCH")
# If empty, /metrics is open to all.
ZENITH_METRICS_TOKEN = env.secret("ZENITH_METRICS_TOKEN")
if ZENITH_METRICS_TOKEN and len(ZENITH_METRICS_TOKEN) < 20:
    raise WrongSetting(
        "ZENITH_METRICS_TOKEN is too short: it takes at least 20 characters, such as `openssl rand -hex 32` prints."
    )
# Pairs of task and queue with counters of their own; each makes some thirty time series.
ZENITH_METRICS_MAX_TASKS = env.integer("ZENITH_METRICS_MAX_TASKS", 200, minimum=1, maximum=10_000)
# Flower's password for the user ZENITH_ADMIN_USERNAME. Flower separates several logins by commas.
ZENITH_FLOWER_PASSWORD = env.secret("ZENITH_FLOWER_PASSWORD")
if "," in ZENITH_FLOWER_PASSWORD:
    raise WrongSetting("ZENITH_FLOWER_PASSWORD contains a comma: it takes any other characters.")
ZENITH_WORKER_IMAGE = env.text("ZENITH_WORKER_IMAGE", "zenith:latest")
ZENITH_ALLOWED_IMAGES = env.names("ZENITH_ALLOWED_IMAGES") or [ZENITH_WORKER_IMAGE]
# In addition to the variables that Zenith sets; infra_app/variables.py has those that are always refused.
ZENITH_NODE_ENVIRONMENT = env.name_patterns("ZENITH_NODE_ENVIRONMENT", ["APP_*", "LANG", "LC_*", "TZ"])
# How often each CPU of a Docker host may be assigned to nodes: an idle worker needs none.
ZENITH_CPU_OVERCOMMIT = env.integer("ZENITH_CPU_OVERCOMMIT", 4, minimum=1, maximum=100)

# --- Docker hosts -----------------------------------------------------------------------------------------------------

ZENITH_VERSION = VERSION
# The addresses for nodes. The embedded servers listen for nodes if a Docker Engine answered when they were started. If an address
# is empty, nodes cannot reach the server, and starting one fails with that reason.
ZENITH_NODE_REDIS_URL = env.url(
    "ZENITH_NODE_REDIS_URL", schemes=("redis", "rediss"), example="redis://:password@10.0.0.5:6379/0"
) or (_REDIS_URL or _embedded.node_redis_url)
ZENITH_NODE_NETWORK = env.text("ZENITH_NODE_NETWORK", "bridge")
ZENITH_SERVICE_NETWORK = env.text("ZENITH_SERVICE_NETWORK", "zenith")
ZENITH_AGENT_HOST = env.text("ZENITH_AGENT_HOST", socket.gethostname()[:63])
ZENITH_AGENT_ENGINE = env.text("ZENITH_AGENT_ENGINE", env.text("DOCKER_HOST", "unix:///var/run/docker.sock"))
ZENITH_AGENT_TLS = Path(env.text("ZENITH_AGENT_TLS")) if env.text("ZENITH_AGENT_TLS") else None
# A node's container names its worker after the node.
ZENITH_WORKER_NAME = env.text("ZENITH_WORKER_NAME", "zenith@%h")

# --- Notifications: docs/notifications.md -----------------------------------------------------------------------------

# The site's URL in messages.
ZENITH_PUBLIC_URL = _public.url if _public else next(iter(CSRF_TRUSTED_ORIGINS), f"http://{ZENITH_HOST}:{ZENITH_PORT}")
_DAY = 24 * 3600
ZENITH_NOTIFY_QUIET = env.integer("ZENITH_NOTIFY_QUIET", 6 * 3600, minimum=60, maximum=30 * _DAY)
# A worker is forgotten five minutes after its last heartbeat.
ZENITH_NOTIFY_WORKER_GONE = env.integer("ZENITH_NOTIFY_WORKER_GONE", 30, minimum=10, maximum=240)
ZENITH_NOTIFY_QUEUE_AGE = env.integer("ZENITH_NOTIFY_QUEUE_AGE", 300, minimum=1, maximum=30 * _DAY)
ZENITH_NOTIFY_STREAM_LAG = env.integer("ZENITH_NOTIFY_STREAM_LAG", 30, minimum=1, maximum=_DAY)
ZENITH_NOTIFY_HOST_UNREACHABLE = env.integer("ZENITH_NOTIFY_HOST_UNREACHABLE", 60, minimum=15, maximum=_DAY)
ZENITH_NOTIFY_ROUTES = env.parsed("ZENITH_NOTIFY_ROUTES", "", parse_routes, ACCEPTED_ROUTES)
ZENITH_NOTIFY_THROTTLE = env.parsed("ZENITH_NOTIFY_THROTTLE", "300", parse_throttle, ACCEPTED_THROTTLE)
ZENITH_NOTIFICATION_DAYS = env.integer("ZENITH_NOTIFICATION_DAYS", 30, minimum=1, maximum=36_500)
ZENITH_NOTIFICATION_MAX = env.integer("ZENITH_NOTIFICATION_MAX", 1000, minimum=10, maximum=100_000)

ZENITH_NOTIFY_EMAIL = env.addresses("ZENITH_NOTIFY_EMAIL")
ZENITH_NOTIFY_SLACK_URL = env.webhook("ZENITH_NOTIFY_SLACK_URL", example="https://hooks.slack.com/services/T000/B000/XXXX")
ZENITH_NOTIFY_WEBHOOK_URL = env.webhook("ZENITH_NOTIFY_WEBHOOK_URL", example="https://alerts.example.com/zenith")
ZENITH_NOTIFY_WEBHOOK_SECRET = env.secret("ZENITH_NOTIFY_WEBHOOK_SECRET")
if ZENITH_NOTIFY_WEBHOOK_URL and not is_signing_secret(ZENITH_NOTIFY_WEBHOOK_SECRET):
    raise WrongSetting(
        f"ZENITH_NOTIFY_WEBHOOK_URL is set, but ZENITH_NOTIFY_WEBHOOK_SECRET is missing or too weak: it takes {ACCEPTED_SECRET}."
    )

# Hosts inside the operator's network that channels made on the page may reach (notify/egress.py).
ZENITH_NOTIFY_HOSTS = env.hosts("ZENITH_NOTIFY_HOSTS")

EMAIL_HOST = env.text("EMAIL_HOST", "localhost")
EMAIL_PORT = env.integer("EMAIL_PORT", 25, minimum=1, maximum=65535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.secret("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env.boolean("EMAIL_USE_TLS", default=False)
EMAIL_USE_SSL = env.boolean("EMAIL_USE_SSL", default=False)
if EMAIL_USE_TLS and EMAIL_USE_SSL:
    raise WrongSetting("EMAIL_USE_TLS and EMAIL_USE_SSL are both on: set one of them.")
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("DEFAULT_FROM_EMAIL", "zenith@localhost")

# --- Logging ----------------------------------------------------------------------------------------------------------

ZENITH_LOG_FORMAT = env.choice("ZENITH_LOG_FORMAT", ("text", "json"), "text")
ZENITH_LOG_LEVEL = env.choice("ZENITH_LOG_LEVEL", ("debug", "info", "warning", "error"), "info")
LOGGING = logging_config(formatter=ZENITH_LOG_FORMAT, level=ZENITH_LOG_LEVEL.upper())
# OpenTelemetry reads it by itself (tracing/); the page of settings shows it.
ZENITH_TRACES_TO = env.text("OTEL_EXPORTER_OTLP_ENDPOINT")
