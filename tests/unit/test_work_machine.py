"""What a machine's own files say about it, and the facts that are made of that."""

from pathlib import Path
from typing import Any

import pytest

from agents.worker.cloud import metadata_service
from pipeline.settings import Settings
from pipeline.work import machine
from pipeline.work.facts import host_facts, size, uptime, with_cloud

#: What HySDS keeps of what `facter` says; those that a machine may be without, and those of the cloud.
KEPT = {
    "architecture", "fqdn", "hardwaremodel", "hostname", "ipaddress", "is_virtual", "memoryfree", "memorysize",
    "memorytotal", "operatingsystem", "operatingsystemrelease", "osfamily", "physicalprocessorcount",
    "processorcount", "swapfree", "swapsize", "uptime", "virtual",
}  # fmt: skip
PERHAPS = {"domain", "ipaddress_eth0"}
OF_CLOUD = {
    "ec2_instance_id", "ec2_instance_type", "ec2_placement_availability_zone", "ec2_public_hostname",
    "ec2_public_ipv4",
}  # fmt: skip


def root(tmp_path: Path, **files: str) -> Path:
    """A machine with these files; `__` in a name stands for a slash, `DMI` for the folder of what makers say."""
    for name, text in files.items():
        path = tmp_path / name.replace("DMI__", "sys/class/dmi/id/").replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "guest"),
    [
        ({}, "physical"),
        ({".dockerenv": "", "DMI__sys_vendor": "Amazon EC2"}, "docker"),
        ({"run__.containerenv": ""}, "podman"),
        ({"run__systemd__container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"sys__hypervisor__type": "xen\n"}, "xenu"),
        ({"DMI__sys_vendor": "Amazon EC2\n", "DMI__product_name": "c7g.2xlarge"}, "kvm"),
        ({"DMI__sys_vendor": "Amazon EC2", "DMI__product_name": "i3.metal"}, "physical"),
        ({"DMI__sys_vendor": "QEMU"}, "kvm"),
        ({"DMI__sys_vendor": "VMware, Inc."}, "vmware"),
        ({"DMI__sys_vendor": "Microsoft Corporation",
          "DMI__product_name": "Virtual Machine"}, "hyperv"),
        ({"DMI__sys_vendor": "Microsoft Corporation",
          "DMI__product_name": "Surface Laptop"}, "physical"),
        ({"proc__cpuinfo": "processor : 0\nflags : fpu hypervisor sse\n"}, "unknown"),
        ({"proc__cpuinfo": "processor : 0\nflags : fpu sse\n"}, "physical"),
    ],
)  # fmt: skip
def test_a_guest_is_known_by_what_its_host_shows_it(tmp_path: Path, files: dict[str, str], guest: str) -> None:
    assert machine.virtual(root(tmp_path, **files)) == guest


@pytest.mark.parametrize(
    ("files", "is_one"),
    [
        ({}, False),
        ({"DMI__sys_vendor": "Amazon EC2\n"}, True),
        ({"sys__hypervisor__uuid": "ec2f1234-0000-0000-0000-000000000000\n"}, True),
        ({"DMI__sys_vendor": "Dell Inc.\n"}, False),
    ],
)
def test_a_machine_of_ec2_is_known_without_asking_anybody(tmp_path: Path, files: dict[str, str], is_one: bool) -> None:
    assert machine.is_ec2(root(tmp_path, **files)) is is_one


def test_processors_are_counted_by_their_sockets(tmp_path: Path) -> None:
    cpus = {f"sys__devices__system__cpu__cpu{n}__topology__physical_package_id": f"{n % 2}\n" for n in range(4)}
    assert machine.sockets(root(tmp_path, **cpus)) == 2
    assert machine.sockets(tmp_path / "nothing") == 1


@pytest.mark.parametrize(
    ("name", "hosts", "domain"),
    [
        ("node.example.org", "", "example.org"),
        ("node", "127.0.1.1 node.example.org node # itself\n", "example.org"),
        ("node", "10.0.0.1 other.example.org other\n# 10.0.0.2 node.commented.org node\n", ""),
    ],
)
def test_the_domain_is_that_of_the_name_or_of_the_hosts_file(
    tmp_path: Path, name: str, hosts: str, domain: str
) -> None:
    assert machine.domain_name(name, root(tmp_path, etc__hosts=hosts)) == domain


@pytest.mark.parametrize(("count", "shown"), [(0, "0 bytes"), (1536, "1.50 KiB"), (1 << 42, "4.00 TiB")])
def test_sizes_are_shown_as_facter_does(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(59, "0:00 hours"), (86_400, "1 day"), (90 * 86_400, "90 days")])
def test_times_are_shown_as_facter_does(seconds: int, shown: str) -> None:
    assert uptime(seconds) == shown


def test_a_host_has_the_facts_of_hysds_under_their_names() -> None:
    cloud = dict.fromkeys(OF_CLOUD, "54.70.1.2")
    facts = host_facts(cloud)
    assert len(KEPT | PERHAPS | OF_CLOUD) == 25
    assert set(facts) >= KEPT | OF_CLOUD | {"hysds_execute_node", "hysds_public_ip"}
    assert all(facts[name] != "" for name in KEPT)
    assert isinstance(facts["is_virtual"], bool)
    assert isinstance(facts["processorcount"], int)


@pytest.mark.parametrize(
    ("own", "cloud", "node", "address"),
    [
        ("10.0.0.1", {}, "node.example", "10.0.0.1"),
        ("10.0.0.1", {"ec2_public_ipv4": "54.70.1.2"}, "54.70.1.2", "54.70.1.2"),
        ("10.0.0.1", {"ec2_public_ipv4": "54.70.1.2", "ec2_public_hostname": "ec2.x"}, "ec2.x", "54.70.1.2"),
        ("100.64.0.1", {"ec2_public_ipv4": "54.70.1.2"}, "54.70.1.2", "100.64.0.1"),
    ],
)
def test_a_node_is_named_as_others_reach_it(own: str, cloud: dict[str, str], node: str, address: str) -> None:
    facts = with_cloud({"ipaddress": own, "fqdn": "node.example"}, cloud)
    assert (facts["hysds_execute_node"], facts["hysds_public_ip"]) == (node, address)


@pytest.mark.parametrize(
    ("setting", "is_ec2", "asked"),
    [("off", True, False), ("auto", False, False), ("auto", True, True), ("http://127.0.0.1:1338", False, True)],
)
def test_the_service_is_asked_only_where_it_is_named_or_the_machine_is_ec2s(
    monkeypatch: pytest.MonkeyPatch, setting: str, is_ec2: bool, asked: bool
) -> None:
    monkeypatch.setattr(machine, "is_ec2", lambda: is_ec2)
    worker = Settings.model_validate({"worker": {"metadata": setting}}).worker
    assert (metadata_service(worker) is not None) is asked


@pytest.mark.parametrize(
    "url",
    [
        "",
        "on",
        "https://x",
        "http://",
        "http://x/path",
        "http://u:p@x",
        "http://x?y",
        "http://x:70000",
        "http://x y",
        "file:///x",
    ],
)
def test_a_setting_that_is_no_service_is_refused(url: str) -> None:
    given: dict[str, Any] = {"worker": {"metadata": url}}
    with pytest.raises(ValueError, match="metadata"):
        Settings.model_validate(given)
