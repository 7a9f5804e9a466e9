import logging

from django.forms import modelform_factory
from django.shortcuts import redirect, render

from .models import Bird

logger = logging.getLogger(__name__)
BirdForm = modelform_factory(Bird, fields=["name", "photo"])


def home(request):
    form = BirdForm(request.POST or None, request.FILES or None)
    if form.is_valid():
        logger.debug("a bird: %s", form.save())
        return redirect("home")
    return render(request, "home.html", {"form": form, "birds": Bird.objects.all()})
