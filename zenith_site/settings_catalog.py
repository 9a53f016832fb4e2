"""Every setting in people's words: its name, what it means, its default, and the variable that sets it, by what it is about.

docs/configuration.md says what each accepts. A test compares the two, so neither forgets a variable.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings

from zenith_site.common.humanize import whole_duration
from zenith_site.common.masking import MASK, is_secret, mask_text

NOT_SET: Final = "not set"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        variable: sets it; for one of Celery's, the name of the setting in the module of ZENITH_CELERY_CONFIG.
        label: its name for people.
        meaning: what it does, in a sentence.
        default: what applies if the variable is not set.
        attribute: its name among Django's settings, if that is another one; empty if it is none of them.
        unit: `seconds` and `days` follow the number; `span` draws seconds as a duration.
        embedded: the setting that tells that there is a server of Zenith's own instead.
        secret: whether its value is never shown.
    """

    variable: str
    label: str
    meaning: str
    default: str = NOT_SET
    attribute: str | None = None
    unit: str = ""
    embedded: str = ""
    secret: bool = False

    @property
    def value(self) -> str:
        """The value in this process, for people; secrets are masked."""
        if self.embedded and getattr(settings, self.embedded):
            return "embedded"
        name = self.variable if self.attribute is None else self.attribute
        value = getattr(settings, name, None) if name else None
        if self.secret or is_secret(self.variable):
            return MASK if value or not name else NOT_SET
        return mask_text(_text(value, self.unit))

    def matches(self, words: list[str]) -> bool:
        """Whether all these words, in lower case, are in its names, its meaning or its value."""
        text = " ".join([self.variable, self.label, self.meaning, self.value]).lower()
        return all(word in text for word in words)


@dataclass(frozen=True, slots=True)
class Section:
    """Settings about one thing."""

    key: str
    title: str
    about: str
    settings: tuple[Setting, ...]


def found(query: str) -> Iterator[tuple[Section, list[Setting]]]:
    """Yield the sections with those of their settings that match a search; all without one."""
    words = query.lower().split()
    for section in SECTIONS:
        if matching := [setting for setting in section.settings if setting.matches(words)]:
            yield section, matching


def _text(value: Any, unit: str) -> str:
    if value in (None, "") or value == [] or value == {}:
        return NOT_SET
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {part}" for name, part in value.items())
    if hasattr(value, "count") and hasattr(value, "seconds") and not isinstance(value, str):
        return f"{value.count:,} in {whole_duration(value.seconds)}"
    if isinstance(value, int | float):
        return whole_duration(value) if unit == "span" else f"{value:,} {unit}".rstrip()
    return str(value)


SECTIONS: Final = (
    Section("delivery", "Delivery and retries", "How often a message is delivered, and how long a task may run.", (
        Setting("ZENITH_MAX_DELIVERIES", "Deliveries of one message",
                "How often a message may reach a worker without its task's body ending. Then the task fails for good.", "20"),
        Setting("ZENITH_DRILLS", "Drills",
                "Whether tasks that fail or crash on purpose can be sent and run.", "on; off in production"),
        Setting("task_soft_time_limit", "Soft time limit",
                "After this long a running task is told to end.", "55 m", "CELERY_TASK_SOFT_TIME_LIMIT", "span"),
        Setting("task_time_limit", "Time limit",
                "After this long a running task is killed.", "1 h", "CELERY_TASK_TIME_LIMIT", "span"),
        Setting("worker_soft_shutdown_timeout", "Time to finish at a shutdown",
                "How long a worker that is asked to stop lets its tasks run.", "5 s",
                "CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", "span"),
        Setting("ZENITH_CELERY_CONFIG", "Celery settings of your own",
                "A Python module with routes, queues, serializers or a schedule, like a celeryconfig.py."),
    )),
    Section("retention", "Retention", "How long things are kept.", (
        Setting("ZENITH_RETENTION_DAYS", "Finished tasks",
                "How long finished tasks stay, with events, attempts, results and figures by minute.", "30 days", unit="days"),
        Setting("ZENITH_DEAD_LETTER_DAYS", "Age of dead letters", "Older dead letters are removed.", "90 days", unit="days"),
        Setting("ZENITH_DEAD_LETTER_MAX", "Number of dead letters",
                "More than this many of an application are not kept; the oldest go first.", "10,000"),
        Setting("ZENITH_TASK_LOGS", "What tasks log",
                "The lowest level of what tasks log that workers keep, or off.", "info"),
        Setting("ZENITH_TASK_LOG_LINES", "Lines of one task's log",
                "More than this many are not kept; the oldest go first.", "5,000"),
        Setting("ZENITH_TASK_LOG_DAYS", "Age of logs", "Older lines of tasks' logs are removed.", "7 days", unit="days"),
        Setting("ZENITH_TASK_LOG_MAX_MB", "Size of all logs",
                "More than this many megabytes of tasks' logs are not kept; the oldest go first.", "2,048"),
        Setting("ZENITH_AUDIT_DAYS", "Audit log", "How long the audit log is kept.", "365 days", unit="days"),
        Setting("ZENITH_NOTIFICATION_DAYS", "Notifications after their end",
                "How long a notification stays once it is over.", "30 days", unit="days"),
        Setting("ZENITH_NOTIFICATION_MAX", "Number of notifications", "More than this many are not kept.", "1,000"),
    )),
    Section("limits", "Limits", "How much one caller may ask for.", (
        Setting("ZENITH_RATE_LIMIT", "New work",
                "How often one caller may send tasks, however many at once. A token can have a limit of its own.", "5 in 1 m"),
        Setting("ZENITH_READ_RATE_LIMIT", "Reading", "How often one caller may read from the API.", "600 in 1 m"),
        Setting("ZENITH_REFUSAL_RATE_LIMIT", "Refused requests",
                "How many refused requests one caller may make before all others but reads are refused.", "60 in 1 m"),
        Setting("ZENITH_HEADER_TIMEOUT", "Time for a request's header",
                "How long the header of a request may take to arrive.", "20 s", unit="span"),
        Setting("ZENITH_BODY_TIMEOUT", "Time for a request's body", "How long the body may take after that.", "2 m", unit="span"),
        Setting("ZENITH_SOCKETS_PER_USER", "Live connections of one user",
                "WebSockets that one user may have open, per web process.", "50"),
        Setting("ZENITH_SOCKETS_PER_PROCESS", "Live connections of all",
                "WebSockets that all users together may have open, per web process.", "1,000"),
        Setting("ZENITH_SOCKET_FRAME_LIMIT", "Frames of a live connection",
                "How many frames a client may send over one WebSocket.", "60 in 10 s"),
        Setting("ZENITH_METRICS_MAX_TASKS", "Counters in /metrics",
                "Pairs of task and queue with counters of their own; all further ones count as (other).", "200"),
    )),
    Section("security", "Security", "Who gets in, and what is hidden.", (
        Setting("ZENITH_ENV", "Environment", "In production, secrets must be set and HTTPS is expected.", "development"),
        Setting("ZENITH_DEBUG", "Debug pages", "Whether errors show code and variables. Refused in production.", "off", "DEBUG"),
        Setting("ZENITH_PUBLIC_URL", "Public address",
                "The address that people use; links in messages begin with it.", "made of the others"),
        Setting("ZENITH_ALLOWED_HOSTS", "Accepted host names",
                "Requests for other hosts are refused. The loopback names are always accepted.",
                "only the loopback names", "ALLOWED_HOSTS"),
        Setting("ZENITH_CSRF_TRUSTED_ORIGINS", "Trusted origins",
                "Addresses whose forms are accepted, besides the public one.", NOT_SET, "CSRF_TRUSTED_ORIGINS"),
        Setting("ZENITH_HTTPS", "HTTPS",
                "Whether a proxy in front terminates HTTPS: secure cookies, redirects, HSTS.", "on in production"),
        Setting("ZENITH_TRUSTED_PROXIES", "Proxies in front",
                "How many proxies name the client's address; the login's throttle and the audit log use it.", "0"),
        Setting("ZENITH_MASK_KEYS", "Further names of secrets",
                "Values under these names are masked, besides passwords, tokens and the like."),
        Setting("ZENITH_MASK_STORED", "Mask before storing",
                "Whether secrets in results and errors are masked before they are stored, not only when shown.", "off"),
        Setting("ZENITH_SECRET_KEY", "Secret key",
                "Signs sessions, and encrypts what must not be readable in the database.",
                "generated outside production", "SECRET_KEY", secret=True),
        Setting("ZENITH_API_KEY", "First API key", "A token of the first admin with every scope.", "generated", secret=True),
        Setting("ZENITH_ADMIN_USERNAME", "Name of the first admin", "Used when there is no admin yet.", "admin"),
        Setting("ZENITH_ADMIN_PASSWORD", "Password of the first admin",
                "Used when there is no admin yet.", "generated", secret=True),
        Setting("ZENITH_METRICS_TOKEN", "Token of /metrics",
                "Without one, everybody can read /metrics, with the names of tasks and queues.", NOT_SET, secret=True),
        Setting("ZENITH_FLOWER_PASSWORD", "Password of Flower",
                "For Flower in the image, with the name of the first admin.", "generated by Compose", secret=True),
    )),
    Section("workers", "Workers and nodes", "How workers run, here and on Docker hosts.", (
        Setting("ZENITH_WORKER_CONCURRENCY", "Slots of a worker", "How many tasks a worker runs at once.", "the number of cores"),
        Setting("ZENITH_TASK_MODULES", "Modules with your tasks", "Python modules that workers import."),
        Setting("ZENITH_WORKER_NAME", "Name of a worker", "%h is the name of its machine.", "zenith@%h"),
        Setting("ZENITH_WORKER_IMAGE", "Image of nodes", "The image that nodes run if nothing else is chosen.", "zenith:latest"),
        Setting("ZENITH_ALLOWED_IMAGES", "Images that nodes may run",
                "Every other image is refused, for everybody.", "the image of nodes"),
        Setting("ZENITH_NODE_ENVIRONMENT", "Variables for nodes",
                "Names of variables that nodes may be given.", "APP_*, LANG, LC_*, TZ"),
        Setting("ZENITH_CPU_OVERCOMMIT", "Promises per CPU", "How many times a host's CPUs may be promised to nodes.", "4"),
        Setting("ZENITH_NODE_REDIS_URL", "Redis as nodes reach it",
                "The address of Redis inside nodes.", "that of Zenith", secret=True),
        Setting("ZENITH_NODE_NETWORK", "Network of nodes", "The Docker network that nodes join.", "bridge"),
        Setting("ZENITH_SERVICE_NETWORK", "Network of services",
                "The swarm's network that services join; it is created if it is missing.", "zenith"),
        Setting("ZENITH_AGENT_HOST", "Name of this Docker host",
                "What the agent of this machine calls its host.", "the machine's name"),
        Setting("ZENITH_AGENT_ENGINE", "Docker Engine",
                "Where the agent of this machine reaches Docker.", "DOCKER_HOST, or Docker's socket"),
        Setting("ZENITH_AGENT_TLS", "Docker certificates", "A directory with ca.pem, cert.pem and key.pem."),
    )),
    Section("notifications", "Notifications", "When people are told, and how.", (
        Setting("ZENITH_NOTIFY_QUIET", "A cause is over after",
                "So long without another failure; then it notifies again if it returns.", "6 h", unit="span"),
        Setting("ZENITH_NOTIFY_WORKER_GONE", "A worker is lost after", "So long without a heartbeat.", "30 s", unit="span"),
        Setting("ZENITH_NOTIFY_QUEUE_AGE", "A queue is late after", "So long that its oldest task waits.", "5 m", unit="span"),
        Setting("ZENITH_NOTIFY_STREAM_LAG", "The recorder is late after",
                "So long that the oldest report waits to be recorded.", "30 s", unit="span"),
        Setting("ZENITH_NOTIFY_HOST_UNREACHABLE", "A Docker host is lost after",
                "So long without a sign of its agent.", "1 m", unit="span"),
        Setting("ZENITH_NOTIFY_ROUTES", "What goes where",
                "What each channel of the environment gets.", "everything to every channel"),
        Setting("ZENITH_NOTIFY_THROTTLE", "Pause between messages",
                "Seconds between two messages of one kind; what comes in between goes out together.", "300"),
        Setting("ZENITH_NOTIFY_EMAIL", "E-mail", "Addresses that get mails."),
        Setting("ZENITH_NOTIFY_SLACK_URL", "Slack", "The incoming webhook of Slack, or of what accepts the same.", secret=True),
        Setting("ZENITH_NOTIFY_WEBHOOK_URL", "Webhook", "Your own URL, which gets signed messages.", secret=True),
        Setting("ZENITH_NOTIFY_WEBHOOK_SECRET", "Secret of the webhook", "Signs its messages.", secret=True),
        Setting("ZENITH_NOTIFY_HOSTS", "Hosts inside your network",
                "Hosts that channels made on the page may reach although their addresses are not public."),
        Setting("EMAIL_HOST", "Mail server", "Sends the mails.", "localhost"),
        Setting("EMAIL_PORT", "Port of the mail server", "Where it listens.", "25"),
        Setting("EMAIL_HOST_USER", "User of the mail server", "Logs in there."),
        Setting("EMAIL_HOST_PASSWORD", "Password of the mail server", "Logs in there.", secret=True),
        Setting("EMAIL_USE_TLS", "STARTTLS", "Whether mails go out over STARTTLS.", "off"),
        Setting("EMAIL_USE_SSL", "TLS from the start", "Whether mails go out over TLS from the start.", "off"),
        Setting("DEFAULT_FROM_EMAIL", "Sender", "The address that mails come from.", "zenith@localhost"),
    )),
    Section("watching", "Watching", "Applications that Zenith watches through their brokers.", (
        Setting("ZENITH_WATCH", "Applications to watch",
                "URLs of brokers, which are stored encrypted at each start. Removing one here does not end its watching.",
                secret=True),
        Setting("ZENITH_WATCH_URL", "URL for one command",
                "The broker's URL for one call of `manage.py watch NAME`.", attribute="", secret=True),
    )),
    Section("servers", "Servers and logs", "Where Zenith keeps its data, and what it writes.", (
        Setting("DATABASE_URL", "PostgreSQL", "The database.", "embedded", "", embedded="ZENITH_EMBEDDED_POSTGRES", secret=True),
        Setting("REDIS_URL", "Redis",
                "The broker, and what passes between processes.", "embedded",
                "", embedded="ZENITH_EMBEDDED_REDIS", secret=True),
        Setting("ZENITH_DATA_DIR", "Data directory", "Generated secrets, and the embedded servers' data.", ".zenith"),
        Setting("ZENITH_STATIC_ROOT", "Static files",
                "Where the collected static files are.", "static in the data directory", "STATIC_ROOT"),
        Setting("ZENITH_HOST", "Address", "Where the web process listens.", "127.0.0.1"),
        Setting("ZENITH_PORT", "Port", "On which port it listens.", "8000"),
        Setting("ZENITH_LOG_FORMAT", "Form of the log", "Text for people, or JSON for programs.", "text"),
        Setting("ZENITH_LOG_LEVEL", "Level of the log", "What is less important is not logged.", "info"),
        Setting("OTEL_EXPORTER_OTLP_ENDPOINT", "Traces",
                "Where traces are sent; OpenTelemetry's own variables apply.", attribute="ZENITH_TRACES_TO"),
    )),
)  # fmt: skip
