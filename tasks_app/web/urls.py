"""The pages."""

from django.urls import path

from tasks_app.web import tasks, views

app_name = "tasks"

urlpatterns = [
    path("", views.overview, name="overview"),
    path("run/", views.run, name="run"),
    path("tasks/", tasks.task_list, name="list"),
    path("tasks/act/<slug:verb>/", tasks.act, name="act"),
    path("tasks/<uuid:task_id>/", views.task, name="task"),
]
