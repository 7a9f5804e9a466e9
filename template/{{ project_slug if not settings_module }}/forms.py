"""What visitors may send."""

from django import forms

from .models import Entry


class EntryForm(forms.ModelForm):
    """A line for the guest book."""

    class Meta:
        model = Entry
        fields = ["name", "message"]
        widgets = {
            "name": forms.TextInput({"autocomplete": "name"}),
            "message": forms.Textarea({"rows": 4}),
        }
