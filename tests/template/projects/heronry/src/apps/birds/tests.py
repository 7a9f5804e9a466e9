from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import TestCase

from .models import Bird


class BirdTests(TestCase):
    def test_a_bird_is_written_down_and_shown(self):
        self.client.post("/", {"name": "Grey heron"})
        self.assertContains(self.client.get("/"), "Grey heron")

    def test_the_motto_is_sent(self):
        self.assertEqual(
            self.client.get("/").headers["X-Motto"], "patience, says a stranger"
        )

    def test_users_count_herons(self):
        person = get_user_model().objects.create_user("ada", heron_count=3)
        self.assertEqual(person.heron_count, 3)

    def test_birds_are_counted(self):
        Bird.objects.create(name="Egret")
        call_command("count_birds")
