from apps.birds.models import Bird
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    def handle(self, *args, **options):
        self.stdout.write(f"{Bird.objects.count()} birds")
