"""The WebSockets."""

from django.urls import path

from tasks_app.web.consumers import OverviewConsumer, TaskStreamConsumer
from tasks_app.web.page_socket import PageConsumer

websocket_urlpatterns = [
    path("ws/tasks", TaskStreamConsumer.as_asgi()),
    path("ws/page", PageConsumer.as_asgi()),
    path("ws/page/overview", OverviewConsumer.as_asgi()),
]
