"""What the admin shows."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from .forms import EntryForm
from .models import Entry, User

admin.site.register(User, UserAdmin)


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):
    """The guest book, for whoever keeps it tidy."""

    form = EntryForm
    list_display = ["created", "name", "message"]
    list_filter = ["created"]
    search_fields = ["name", "message"]
    date_hierarchy = "created"
