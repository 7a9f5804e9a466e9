"""What the database keeps."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """The project's own user, so that fields can be added to it at any time."""


class Entry(models.Model):
    """What one visitor wrote in the guest book."""

    name = models.CharField("your name", max_length=60)
    message = models.CharField("your message", max_length=500)
    # db_default: the release before this one, which knows no pictures, goes on writing
    picture = models.FileField(
        "a picture, if you like",
        upload_to="guest-book",
        blank=True,
        default="",
        db_default="",
    )
    created = models.DateTimeField("written", auto_now_add=True, db_index=True)

    class Meta:
        ordering = ["-created", "-pk"]
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.name}: {self.message[:40]}"
