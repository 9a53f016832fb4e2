"""What Zenith is measured against: Celery alone, and Celery with the tracking that people use today."""
