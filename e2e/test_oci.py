"""What a container may do, as the OCI specification names it: nothing that the manifest does not say."""

from pathlib import Path
from typing import Any

from e2e.manifests import Container
from e2e.oci import configuration, seccomp
from e2e.rootfs import Bind

ALLOW, REFUSE = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
PROFILE: dict[str, Any] = {
    "defaultAction": REFUSE,
    "defaultErrnoRet": 38,
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"]},
    ],
    "syscalls": [
        {"names": ["read", "unshare"], "action": ALLOW, "args": [], "includes": {}, "excludes": {}},
        {"names": ["chroot"], "action": ALLOW, "includes": {"caps": ["CAP_SYS_CHROOT"]}, "comment": "x"},
        {"names": ["chroot"], "action": REFUSE, "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_CHROOT"]}},
        {"names": ["mount"], "action": ALLOW},
    ],
}
AGENT = Container(
    argv=("nodewall", "agent"),
    env={"B": "2", "A": "1"},
    mounts=(),
    uid=0,
    gid=0,
    capabilities=("net_admin",),
    read_only_root=True,
    may_gain_privileges=False,
    readiness=None,
)


def test_a_container_gets_what_its_manifest_says() -> None:
    config = configuration(AGENT, [Bind(Path("/run/volumes/0"), Path("/var/lib/nodewall"), read_only=True)], PROFILE)
    process = config["process"]
    assert process["user"] == {"uid": 0, "gid": 0}
    assert process["args"] == ["nodewall", "agent"]
    assert process["env"] == ["A=1", "B=2"]
    assert process["noNewPrivileges"] is True
    assert set(process["capabilities"]) == {"bounding", "effective", "permitted"}, "neither inherited nor ambient"
    assert list(process["capabilities"].values()) == [["CAP_NET_ADMIN"]] * 3
    assert config["root"]["readonly"] is True
    assert config["mounts"][-1]["destination"] == "/var/lib/nodewall"
    assert config["mounts"][-1]["options"] == ["rbind", "rprivate", "ro"]
    assert {each["type"] for each in config["linux"]["namespaces"]} == {"mount", "pid", "ipc"}, "the node's network"


def test_conditions_of_a_profile_are_decided() -> None:
    without = seccomp(PROFILE, ["CAP_NET_ADMIN"])
    assert without["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert without["syscalls"] == [
        {"names": ["read"], "action": ALLOW, "args": []},
        {"names": ["chroot"], "action": REFUSE, "errnoRet": 1},
    ], "unshare and mount need CAP_SYS_ADMIN"
    assert {"names": ["chroot"], "action": ALLOW} in seccomp(PROFILE, ["CAP_SYS_CHROOT"])["syscalls"]
