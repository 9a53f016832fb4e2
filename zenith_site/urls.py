"""The site's URLs: login, admin, the pages, the API. Here and in asgi.py the site is put together from its apps."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, include, path

from infra_app.api.groups import router as groups_router
from infra_app.api.hosts import router as hosts_router
from infra_app.api.nodes import router as nodes_router
from infra_app.api.original import router as infrastructure_router
from tasks_app.api.analytics import router as analytics_router
from tasks_app.api.analytics import stats_router
from tasks_app.api.batches import router as batches_router
from tasks_app.api.catalogue import router as catalogue_router
from tasks_app.api.dead_letters import router as dead_letters_router
from tasks_app.api.events import router as events_router
from tasks_app.api.queues import router as queues_router
from tasks_app.api.tasks import router as tasks_router
from tasks_app.api.v1_tasks import router as v1_tasks_router
from tasks_app.api.workers import router as workers_router
from zenith_site import settings_page
from zenith_site.admin import login
from zenith_site.api import api
from zenith_site.auth.login import ThrottledLoginView
from zenith_site.auth.token_api import router as tokens_router
from zenith_site.health import router as health_router
from zenith_site.metrics.web import metrics
from zenith_site.notify import web as notify
from zenith_site.notify.api import router as notifications_router

api.add_router("", health_router)
api.add_router("", tasks_router)
api.add_router("/api/v1/dead-letters", dead_letters_router)
api.add_router("/api/v1/tokens", tokens_router)
api.add_router("/api/v1/tasks", v1_tasks_router)
api.add_router("/api/v1/batches", batches_router)
api.add_router("", stats_router)
api.add_router("", infrastructure_router)
api.add_router("/api/v1/nodes", nodes_router)
api.add_router("/api/v1/groups", groups_router)
api.add_router("/api/v1/hosts", hosts_router)
api.add_router("/api/v1/analytics", analytics_router)
api.add_router("/api/v1/workers", workers_router)
api.add_router("/api/v1/queues", queues_router)
api.add_router("/api/v1/events", events_router)
api.add_router("/api/v1/catalogue", catalogue_router)
api.add_router("/api/v1/notifications", notifications_router)

urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", ThrottledLoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    # Before the admin's own, which it stands in for.
    path("admin/login/", login),
    path("admin/", admin.site.urls),
    path("settings/", settings_page.settings_page, name="settings"),
    path("settings/profile/", settings_page.save_profile, name="save_profile"),
    path("settings/theme/", settings_page.save_theme, name="save_theme"),
    path("settings/password/", settings_page.change_password, name="change_password"),
    path("settings/tokens/", settings_page.make, name="make_token"),
    path("settings/tokens/<int:token_id>/revoke/", settings_page.revoke, name="revoke_token"),
    path("metrics", metrics, name="metrics"),
    path("notifications/", notify.notifications, name="notifications"),
    path("notifications/read/", notify.read, name="read_notifications"),
    path("", include("tasks_app.web.urls")),
    path("", include("infra_app.web.urls")),
    path("", api.urls),
]

handler500 = "zenith_site.problems.server_error"
