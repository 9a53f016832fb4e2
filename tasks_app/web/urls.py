"""The pages."""

from django.urls import path

from tasks_app.web import views

app_name = "tasks"

urlpatterns = [
    path("", views.overview, name="overview"),
    path("run/", views.run, name="run"),
    path("tasks/<uuid:task_id>/", views.task, name="task"),
]
