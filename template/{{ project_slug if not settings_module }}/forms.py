"""What visitors may send."""

import secrets

from django import forms
from django.core.files.uploadedfile import UploadedFile

from .models import Entry

LARGEST_PICTURE = 5_000_000  # bytes
KINDS = [  # how the bytes of a picture begin, what follows later, and what its name ends in
    (b"\x89PNG\r\n\x1a\n", b"", ".png"),
    (b"\xff\xd8\xff", b"", ".jpg"),
    (b"GIF8", b"", ".gif"),
    (b"RIFF", b"WEBP", ".webp"),
]


class EntryForm(forms.ModelForm):
    """A line for the guest book."""

    class Meta:
        model = Entry
        fields = ["name", "message", "picture"]
        widgets = {
            "name": forms.TextInput({"autocomplete": "name"}),
            "message": forms.Textarea({"rows": 4}),
            "picture": forms.FileInput({"accept": "image/*"}),
        }

    def clean_picture(self):
        """A picture by what is in it; neither the file's name nor its type is believed."""
        picture = self.cleaned_data["picture"]
        if not isinstance(picture, UploadedFile):
            return picture
        if picture.size > LARGEST_PICTURE:
            largest = LARGEST_PICTURE // 1_000_000
            raise forms.ValidationError(f"The picture is larger than {largest} MB.")
        ending = ending_of(picture.read(16))
        picture.seek(0)
        if not ending:
            raise forms.ValidationError("This is no PNG, JPEG, GIF or WebP picture.")
        picture.name = secrets.token_hex(8) + ending
        return picture


def ending_of(start: bytes) -> str:
    """`.png` for what begins as a PNG does; nothing for what is no picture."""
    for begin, later, ending in KINDS:
        if start.startswith(begin) and later in start[len(begin) :]:
            return ending
    return ""
