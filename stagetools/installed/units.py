"""systemd units for an installed project, as closed as systemd can make them."""

from pathlib import Path

from stagetools.naming.system import System

__all__ = ["SERVERS", "unit"]

STOP = 35  # seconds; gunicorn's graceful_timeout is 25, and then it has to leave itself

SERVERS = {
    "gunicorn": "gunicorn --config python:stagetools.gunicorn_conf {wsgi}",
    "uvicorn": "uvicorn --uds {socket} --no-access-log --lifespan on"
    " --timeout-graceful-shutdown 25 {asgi}",
    "hypercorn": "hypercorn --bind unix:{socket} --umask 007 --graceful-timeout 25 {asgi}",
}
"""How each server is started; `{socket}` is where the proxy finds it."""

_UNIT = """\
[Unit]
Description={name}, served by {server}
After=network.target
Conflicts={others}

[Service]
Type={type}
NotifyAccess=main
User={user}
Group={group}
Environment=STAGETOOLS_SYSTEM={name}
Environment=STAGETOOLS_CONFIG={settings}
Environment=STAGETOOLS_BIND=unix:{socket}
Environment=PYTHONDONTWRITEBYTECODE=1
ExecStart={python} -m {command}
WorkingDirectory=/
Restart=on-failure
RestartSec=1
KillMode=mixed
TimeoutStopSec={stop}
RuntimeDirectory={name}
# the proxy's account has to be in the group {group}
RuntimeDirectoryMode=0750
UMask=0007

# it writes its own data and nothing else
ProtectSystem=strict
ReadWritePaths=-{base}/data -{base}/media
{home}
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProcSubset=pid

# it needs no privilege, and no corner of the kernel
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# gunicorn calls it on its socket, even where nothing changes hands
SystemCallFilter=@chown

[Install]
WantedBy=multi-user.target
Alias={name}.service
"""


def unit(server: str, system: System, settings: Path, prefix: Path) -> str:
    """The text of a unit. `prefix` is the environment that the project is installed in."""
    socket = f"/run/{system.name}/web.sock"
    others = (f"{system.name}-{name}.service" for name in SERVERS if name != server)
    command = SERVERS[server].format(
        socket=socket, wsgi=system.wsgi_application, asgi=system.asgi_application
    )
    return _UNIT.format(
        name=system.name,
        server=server,
        others=" ".join(others),
        type="notify" if server == "gunicorn" else "exec",
        user=system.name,
        group=system.name,
        settings=settings,
        socket=socket,
        python=prefix / "bin/python",
        command=command,
        stop=STOP,
        base=system.base_dir,
        home=_home(system, prefix),
    )


def _home(system: System, prefix: Path) -> str:
    """Of all homes it sees its own, and the environment where that is in one."""
    inside = [
        path for path in (system.base_dir, prefix) if Path("/home") in path.parents
    ]
    if not inside:
        return "ProtectHome=yes"
    shown = " ".join(sorted({f"-{path}" for path in inside}))
    return f"ProtectHome=tmpfs\nBindReadOnlyPaths={shown}"
