"""The pages."""

from django.urls import path

from tasks_app.web import (
    analytics,
    application_switch,
    applications,
    dead_letter_actions,
    dead_letters,
    diagnosis,
    dispatch,
    events,
    nav_counts,
    queues,
    task,
    tasks,
    values,
    views,
    workers,
)

app_name = "tasks"

urlpatterns = [
    path("", views.overview, name="overview"),
    path("nav/counts/", nav_counts.nav_counts, name="nav_counts"),
    path("run/", views.run, name="run"),
    path("tasks/", tasks.task_list, name="list"),
    path("tasks/act/<slug:verb>/", tasks.act, name="act"),
    path("tasks/<uuid:task_id>/", task.task, name="task"),
    path("tasks/<uuid:task_id>/edit/", task.edit_task, name="edit"),
    path("tasks/<uuid:task_id>/now/", task.send_now, name="send_now"),
    path("tasks/<uuid:task_id>/values/<slug:value>/", values.task_value, name="value"),
    path("tasks/by-id/<name:celery_id>/", task.by_id, name="by_id"),
    path("dispatch/", dispatch.dispatch_page, name="dispatch"),
    path("dead-letters/", dead_letters.groups, name="dead_letters"),
    path("dead-letters/replay/", dead_letter_actions.replay_letters, name="replay_letters"),
    path("dead-letters/discard/", dead_letter_actions.discard_letters, name="discard_letters"),
    path("dead-letters/runs/<uuid:run_id>/stop/", dead_letter_actions.stop, name="stop_run"),
    path("dead-letters/<name:fingerprint>/", dead_letters.group, name="dead_letter_group"),
    path("analytics/", analytics.analytics_page, name="analytics"),
    path("choose-application/", application_switch.choose, name="choose_application"),
    path("applications/", applications.application_list, name="applications"),
    path("applications/<name:name>/diagnosis/", diagnosis.diagnosis, name="diagnosis"),
    path("applications/<name:name>/", applications.application, name="application"),
    path("events/", events.event_list, name="events"),
    path("workers/", workers.worker_list, name="workers"),
    path("clear-workers/", workers.clear_all, name="clear_workers"),
    path("workers/<name:name>/clear/", workers.clear, name="clear_worker"),
    path("workers/<name:name>/<slug:command>/", workers.send_command, name="tell_worker"),
    path("workers/<name:name>/", workers.worker, name="worker"),
    path("queues/", queues.queue_list, name="queues"),
    path("queues/pause/<name:name>/", queues.pause, name="pause_queue"),
    path("queues/resume/<name:name>/", queues.resume, name="resume_queue"),
    path("queues/purge/<name:name>/", queues.purge, name="purge_queue"),
    path("queues/of/<name:name>/", queues.queue, name="queue"),
]
