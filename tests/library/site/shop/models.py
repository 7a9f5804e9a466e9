"""What the shop sells."""

from django.db import models


class Item(models.Model):
    """One thing on a shelf."""

    name = models.CharField(max_length=40)
