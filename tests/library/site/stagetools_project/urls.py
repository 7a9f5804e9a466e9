"""The site's pages."""

from django.urls import path
from shop import views

urlpatterns = [
    path("", views.home),
    path("add/", views.add),
    path("fail/", views.fail),
    path("slow/", views.slow),
]
