"""The site's URLs: login, admin, the pages, the API. Only this module and asgi.py import the apps."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, include, path

from zenith_site import settings_page
from zenith_site.admin import change_password, login
from zenith_site.api import api
from zenith_site.auth.login import ThrottledLoginView
from zenith_site.common.api_routers import mount
from zenith_site.metrics.web import metrics
from zenith_site.notify import web as notify

mount(api)

urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", ThrottledLoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    # Before the admin's own login, which it replaces.
    path("admin/login/", login),
    path("admin/password_change/", admin.site.admin_view(change_password)),
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

handler403 = "zenith_site.problems.permission_denied"
handler500 = "zenith_site.problems.server_error"
