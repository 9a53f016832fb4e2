"""Zenith's own Celery application. `celery.current_app` is whichever was created last, and a task module may create one."""

from functools import cache

from celery import Celery, signals

_apps: list[Celery] = []


def use(app: Celery) -> None:
    """Set Zenith's application, and keep it the current one in every thread, also after task modules were imported."""
    _apps[:] = [app]
    app.set_default()
    # After a worker has imported its modules, in its main process and in its pool's.
    for signal in (signals.celeryd_after_setup, signals.worker_process_init):
        signal.connect(stay_current, dispatch_uid="zenith_site.application")


def celery_app() -> Celery:
    """Return Zenith's own application."""
    if not _apps:
        raise RuntimeError("Zenith's Celery application is not set: import zenith_site.celery first.")
    return _apps[0]


def import_tasks() -> Celery:
    """Import the task modules; return the application, which is still the current one afterwards."""
    app = celery_app()
    _import_modules(app)
    stay_current()
    return app


@cache
def _import_modules(app: Celery) -> None:
    """Import an application's task modules once: each time, Celery also sets Django up anew, and with it the log."""
    app.loader.import_default_modules()


def stay_current(**_: object) -> None:
    """Make Zenith's application the current one again, so that `.delay()` in tasks sends to its broker."""
    celery_app().set_current()
