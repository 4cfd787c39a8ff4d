"""Folders that other programs change, and disks of other machines."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest

from vdbevents.health import file_systems

MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /home/ada/my\\040nas rw,relatime shared:2 - nfs4 server:/export rw,vers=4.2
31 22 0:26 / /dev/shm rw - tmpfs tmpfs rw
32 22 0:27 / /mnt rw - fuse.sshfs ada@host: rw
33 32 8:2 / /mnt/disk rw - xfs /dev/sdb1 rw
broken line
"""
LISTED = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
//ada@nas/share on /Volumes/my share (smbfs, nodev, nosuid, mounted by ada)
"""


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/home/ada/Dropbox/state", "Dropbox"),
        ("/Users/ada/Library/CloudStorage/Dropbox/x", "Dropbox"),
        ("/Users/ada/Dropbox (Personal)/x", "Dropbox"),
        ("/Users/ada/Library/CloudStorage/OneDrive-Firm/x", "OneDrive"),
        ("/Users/ada/Library/CloudStorage/GoogleDrive-ada@example.com/My Drive/x", "Google Drive"),
        ("/Users/ada/Library/Mobile Documents/com~apple~CloudDocs/x", "iCloud"),
        ("/home/ada/Sync/videodb", "Syncthing"),
        ("/home/ada/.local/state/videodb", None),
        ("/home/ada/Dropboxes/x", None),
    ],
)
def test_a_folder_of_a_synchronising_service_is_recognised(path, service):
    # The last is where Dropbox keeps its settings, and no folder of it.
    marks = {PurePosixPath("/home/ada/Sync/.stfolder"), PurePosixPath("/home/ada/.dropbox")}

    assert file_systems.sync_service(PurePosixPath(path), marks.__contains__) == service


def test_windows_paths_are_recognised_too():
    path = PureWindowsPath(r"C:\Users\ada\OneDrive - Firm\videodb")

    assert file_systems.sync_service(path, lambda _: False) == "OneDrive"


@pytest.mark.parametrize(
    ("path", "kind", "is_network"),
    [
        ("/home/ada/state", "ext4", False),
        ("/home/ada/my nas/state", "nfs4", True),
        ("/mnt/state", "fuse.sshfs", True),
        ("/mnt/disk/state", "xfs", False),
        ("/dev/shm/state", "tmpfs", False),
    ],
)
def test_the_file_system_is_that_of_the_innermost_mount(path, kind, is_network):
    found = file_systems.kind_of_mount(PurePosixPath(path), file_systems.linux_mounts(MOUNTINFO))

    assert found == kind
    assert file_systems.is_network(found) is is_network
    assert file_systems.is_in_memory(found) is (kind == "tmpfs")


def test_of_two_mounts_on_a_folder_the_later_one_counts():
    assert file_systems.kind_of_mount(PurePosixPath("/a/b"), [("/a", "ext4"), ("/a", "nfs")]) == "nfs"
    assert file_systems.kind_of_mount(PurePosixPath("/a/b"), []) == ""


def test_the_mounts_that_macos_lists_are_read():
    mounts = file_systems.listed_mounts(LISTED)

    assert file_systems.kind_of_mount(PurePosixPath("/Volumes/my share/x"), mounts) == "smbfs"
    assert file_systems.kind_of_mount(PurePosixPath("/Users/ada"), mounts) == "apfs"
