"""The callback server: providers say here what came of a transmission, perhaps much later."""

from aiohttp import web
from odradek import ActivityNotFoundError, Client

CLIENT = web.AppKey("client", Client)


async def answered(request: web.Request) -> web.Response:
    """POST /answers/<token>: a provider has delivered."""
    try:
        await request.app[CLIENT].complete_activity(request.match_info["token"], await request.text())
    except ActivityNotFoundError:
        return web.Response(status=410, text="too late: another provider was asked")
    return web.Response(text="thank you")


def callback_server(client: Client) -> web.Application:
    app = web.Application()
    app[CLIENT] = client
    app.add_routes([web.post("/answers/{token}", answered)])
    return app


async def serve(app: web.Application) -> tuple[web.AppRunner, str]:
    """Serve on any port of this host; the address."""
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"
