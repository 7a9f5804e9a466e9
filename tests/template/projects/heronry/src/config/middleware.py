"""A middleware of the project's own."""


class MottoMiddleware:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        who = "a friend" if request.user.is_authenticated else "a stranger"
        response.headers["X-Motto"] = f"patience, says {who}"
        return response
