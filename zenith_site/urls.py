"""The site's URLs: login, admin, the pages, the API. Only this module and asgi.py import the apps."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, include, path

from zenith_site import audit_page, configuration_page, people_page, settings_page
from zenith_site.admin import change_password, login
from zenith_site.api import api
from zenith_site.auth.login import ThrottledLoginView
from zenith_site.common.api_routers import mount
from zenith_site.metrics.web import metrics
from zenith_site.notify import channel_page, rule_page
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
    path("settings/configuration/", configuration_page.configuration, name="configuration"),
    path("settings/audit/", audit_page.audit_log, name="audit_log"),
    path("settings/users/", people_page.users, name="users"),
    path("settings/users/new/", people_page.new_user, name="new_user"),
    path("settings/users/<int:user_id>/", people_page.user, name="user"),
    path("settings/users/<int:user_id>/active/", people_page.activate, name="activate_user"),
    path("settings/users/<int:user_id>/password/", people_page.reset_password, name="reset_password"),
    path("settings/tokens/", settings_page.make, name="make_token"),
    path("settings/tokens/<int:token_id>/revoke/", settings_page.revoke, name="revoke_token"),
    path("metrics", metrics, name="metrics"),
    path("notifications/", notify.notifications, name="notifications"),
    path("notifications/read/", notify.read, name="read_notifications"),
    path("notifications/<int:notification_id>/mute/", notify.mute, name="mute_notification"),
    path("notifications/rules/", rule_page.rules, name="notification_rules"),
    path("notifications/rules/new/", rule_page.new_rule, name="new_notification_rule"),
    path("notifications/rules/<int:rule_id>/", rule_page.rule_page, name="notification_rule"),
    path("notifications/rules/<int:rule_id>/mute/", rule_page.mute, name="mute_notification_rule"),
    path("notifications/rules/<int:rule_id>/test/", rule_page.test, name="test_notification_rule"),
    path("notifications/rules/<int:rule_id>/remove/", rule_page.remove, name="remove_notification_rule"),
    path("notifications/channels/", channel_page.channels, name="notification_channels"),
    path("notifications/channels/new/", channel_page.new_channel, name="new_notification_channel"),
    path("notifications/channels/<uuid:channel_id>/", channel_page.channel, name="notification_channel"),
    path("notifications/channels/<uuid:channel_id>/remove/", channel_page.remove, name="remove_notification_channel"),
    path("notifications/channels/test/<slug:key>/", channel_page.test, name="test_notification_channel"),
    path("", include("tasks_app.web.urls")),
    path("", include("infra_app.web.urls")),
    path("", api.urls),
]

handler403 = "zenith_site.problems.permission_denied"
handler500 = "zenith_site.problems.server_error"
