"""A container as its manifest asks for it, run by an OCI runtime (crun): what a kubelet would have containerd do.

Capabilities, user, read-only root, no_new_privs, namespaces, masked paths and the seccomp profile are handed over as
the OCI specification names them. Not done, because the harness gives a process no cgroup: limits and the device list.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e import debian
from e2e.binaries import Say
from e2e.image import TOOLS, Image
from e2e.manifests import Container
from e2e.rootfs import Bind

_PROFILE = Path("usr/share/containers/seccomp.json")  # in the root that has crun
_BUNDLE = Path("/run/bundle")
_LOWER = Path("/run/image")
_VOLUMES = Path("/run/volumes")
_ROOT = Path("/tmp/rootfs")  # noqa: S108 - of its own

# What containerd's RuntimeDefault refuses without CAP_SYS_ADMIN, and the profile here allows.
_REFUSED = frozenset(
    {
        *("mount", "mount_setattr", "move_mount", "open_tree", "pivot_root", "umount", "umount2"),
        *("fsconfig", "fsmount", "fsopen", "fspick"),
        *("clone3", "setns", "unshare"),
        *("add_key", "keyctl", "request_key"),
        *("io_uring_enter", "io_uring_register", "io_uring_setup", "process_mrelease"),
    }
)
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_SAFE = ["nosuid", "noexec", "nodev"]


@dataclass(frozen=True, slots=True)
class ContainerRuntime:
    """Starts containers of one image; fulfils `components.Runtime`. They see empty files in place of `hidden` ones."""

    image: Image
    tools: Path
    hidden: tuple[str, ...] = ()

    @classmethod
    def of(cls, image: Image, say: Say, hidden: Iterable[str] = ()) -> "ContainerRuntime":
        """The runtime from the root that the image was built in."""
        return cls(image, debian.provide(TOOLS, say), tuple(hidden))

    @property
    def env(self) -> Mapping[str, str]:
        """What the image sets."""
        return self.image.env

    def argv(self, container: Container, binds: Sequence[Bind], directory: Path) -> list[str]:
        """The command line that runs a container until it ends; `directory` is where its bundle is kept.

        It lives in a process namespace below that of the command, which takes it along whatever it dies of.
        """
        bundle = directory / "bundle"
        bundle.mkdir(exist_ok=True)
        inside = [Bind(_VOLUMES / str(number), bind.target, bind.read_only) for number, bind in enumerate(binds)]
        profile = json.loads((self.tools / _PROFILE).read_text())
        config = configuration(container, inside, profile)
        config["linux"]["maskedPaths"] += self.hidden
        (bundle / "config.json").write_text(json.dumps(config, indent=1))
        shown = [Bind(bind.source, there.source) for bind, there in zip(binds, inside, strict=True)]
        shown += [Bind(bundle, _BUNDLE, read_only=True), Bind(self.image.root, _LOWER, read_only=True)]
        return debian.argv(self.tools, [*_OWN_PROCESSES, "sh", "-ec", _RUN], shown)


# Whoever is killed here takes along what is below; SIGTERM passes the first one and is handed on by crun.
_OWN_PROCESSES = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--")

# The layer that missing mount points are made in is a container's own, as with any runtime.
_RUN = f"""
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir -p /tmp/upper /tmp/work {_ROOT}
mount -t overlay overlay -o lowerdir={_LOWER},upperdir=/tmp/upper,workdir=/tmp/work {_ROOT}
exec crun --cgroup-manager=disabled --root=/run/crun run --bundle={_BUNDLE} main
"""


def configuration(container: Container, binds: Iterable[Bind], profile: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of the OCI runtime specification for a container on its node's network; pure.

    `profile` is a seccomp profile in the form that Docker, podman and CRI-O share.
    """
    capabilities = [f"CAP_{name.upper()}" for name in container.capabilities or ()]
    process = {
        "user": {"uid": container.uid, "gid": container.gid},
        "args": list(container.argv),
        "env": [f"{name}={value}" for name, value in sorted(container.env.items())],
        "cwd": "/",
        "noNewPrivileges": not container.may_gain_privileges,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
    }
    linux = {
        "namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc")],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
        "seccomp": seccomp(profile, capabilities),
    }
    return {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": str(_ROOT), "readonly": container.read_only_root},
        "mounts": [*_system_mounts(), *map(_bind_mount, binds)],
        "linux": linux,
    }


def seccomp(profile: Mapping[str, Any], capabilities: Sequence[str]) -> dict[str, Any]:
    """A profile without its conditions, for these capabilities on a 64-bit x86 or Arm machine."""
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": [name for each in profile["archMap"] for name in _architectures(each)],
        "syscalls": [_plain(rule) for rule in _rules(profile["syscalls"], capabilities)],
    }


def _architectures(entry: Mapping[str, Any]) -> list[str]:
    ours = entry["architecture"] in ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")
    return [entry["architecture"], *entry["subArchitectures"]] if ours else []


def _rules(rules: Iterable[Mapping[str, Any]], capabilities: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rules that hold: what is included must all be there, of what is excluded nothing may."""
    for rule in rules:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        wanted = set(includes.get("caps", ())) <= set(capabilities)
        if wanted and not set(excludes.get("caps", ())) & set(capabilities):
            allowed = rule["action"] == "SCMP_ACT_ALLOW"
            names = [name for name in rule["names"] if not (allowed and name in _REFUSED)]
            if names:
                yield {**rule, "names": names}


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {key: rule[key] for key in ("names", "action", "errnoRet", "args") if rule.get(key) is not None}


def _system_mounts() -> list[dict[str, Any]]:
    return [
        _mount("/proc", "proc", _SAFE),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        _mount("/dev/shm", "tmpfs", [*_SAFE, "mode=1777", "size=65536k"]),  # noqa: S108 - of its own
        _mount("/dev/mqueue", "mqueue", _SAFE),
        _mount("/sys", "sysfs", [*_SAFE, "ro"]),
    ]


def _mount(target: str, kind: str, options: Sequence[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}


def _bind_mount(bind: Bind) -> dict[str, Any]:
    options = ["rbind", "rprivate", "ro" if bind.read_only else "rw"]
    return {"destination": str(bind.target), "type": "bind", "source": str(bind.source), "options": options}
