"""Zenith's own Celery application, by name: `celery.current_app` is whichever was made last, and a task module may make one."""

from celery import Celery, signals

_apps: list[Celery] = []


def use(app: Celery) -> None:
    """Say which application is Zenith's, and let it stay the current one in every thread once task modules were imported."""
    _apps[:] = [app]
    app.set_default()
    # After a worker has imported its modules, in its main process and in its pool's.
    for signal in (signals.celeryd_after_setup, signals.worker_process_init):
        signal.connect(stay_current, dispatch_uid="zenith_site.application")


def celery_app() -> Celery:
    """Return Zenith's own application."""
    if not _apps:
        raise RuntimeError("zenith_site.celery has not been imported: which Celery application is Zenith's?")
    return _apps[0]


def import_tasks() -> Celery:
    """Import the modules with tasks; return the application, which is the current one afterwards, too."""
    app = celery_app()
    app.loader.import_default_modules()
    stay_current()
    return app


def stay_current(**_: object) -> None:
    """Make Zenith's application the current one again: what tasks send by `.delay()` goes to its broker."""
    celery_app().set_current()
