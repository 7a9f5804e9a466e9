from django.conf import settings
from django.db import models


class Bird(models.Model):
    name = models.CharField(max_length=40)
    photo = models.FileField(upload_to="birds/", blank=True)
    seen_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL
    )

    def __str__(self):
        return self.name
