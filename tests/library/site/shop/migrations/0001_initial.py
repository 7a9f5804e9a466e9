"""The first table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Makes it."""

    initial = True
    operations = [  # noqa: RUF012
        migrations.CreateModel(
            "Item",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=40)),
            ],
        )
    ]
