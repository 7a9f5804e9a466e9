from django.contrib.auth.models import AbstractUser
from django.db import models


class Person(AbstractUser):
    heron_count = models.IntegerField(default=0)
