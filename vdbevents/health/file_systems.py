"""Recognise folders that other programs change, and disks of other machines. Nothing is read here."""

import re
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Final

_NETWORK: Final = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afpfs", "webdav", "9p", "afs", "ceph", "lustre", "gpfs"),
        *("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.davfs", "davfs"),
        *("vboxsf", "vmhgfs", "fuse.vmhgfs-fuse", "prl_fs", "virtiofs"),
    )
)
_IN_MEMORY: Final = frozenset(("tmpfs", "ramfs"))

# A folder of such a name, anywhere above, belongs to the service.
_NAMES: Final = (
    ("Dropbox", re.compile(r"Dropbox( .*|-.*)?")),
    ("OneDrive", re.compile(r"OneDrive( ?- ?.*)?")),
    ("Google Drive", re.compile(r"Google ?Drive(-.*)?|My Drive")),
    ("iCloud", re.compile(r"Mobile Documents|iCloud ?Drive|com~apple~CloudDocs")),
)
# A folder that holds such a file, too.
_MARKS: Final = (
    # Not `.dropbox`: so Dropbox calls its settings in the home directory, too.
    ("Dropbox", ".dropbox.cache"),
    ("Syncthing", ".stfolder"),
    ("Nextcloud", ".nextcloudsync.log"),
    ("ownCloud", ".owncloudsync.log"),
)


def sync_service(path: PurePath, exists: Callable[[PurePath], bool]) -> str | None:
    """Return the name of the service that keeps a folder in step with other machines; None if none does.

    Args:
        path: the folder, absolute and without links.
        exists: whether a file is there.
    """
    for folder in (path, *path.parents):
        for service, pattern in _NAMES:
            if pattern.fullmatch(folder.name):
                return service
        for service, mark in _MARKS:
            if exists(folder / mark):
                return service
    return None


def kind_of_mount(path: PurePath, mounts: Iterable[tuple[str, str]]) -> str:
    """Return the type of the file system that holds a path; empty if unknown.

    Args:
        path: absolute and without links.
        mounts: the folder and the type of each, in the order in which they were mounted.
    """
    best, kind = -1, ""
    for folder, type_ in mounts:
        depth = len(PurePath(folder).parts)
        if depth >= best and path.is_relative_to(folder):
            best, kind = depth, type_
    return kind


def linux_mounts(mountinfo: str) -> list[tuple[str, str]]:
    """Return the folder and the type of each mount in `/proc/self/mountinfo`."""
    mounts = []
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if separator and len(fields) > 4 and after:  # noqa: PLR2004 - the fifth is the folder
            folder = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            mounts.append((folder, after.split(" ")[0]))
    return mounts


def listed_mounts(text: str) -> list[tuple[str, str]]:
    """Return the folder and the type of each mount that macOS' `mount` prints."""
    return re.findall(r"^.* on (/.*) \((\w+)[,)]", text, re.MULTILINE)


def is_network(kind: str) -> bool:
    """Return whether a type of file system is on another machine."""
    return kind in _NETWORK


def is_in_memory(kind: str) -> bool:
    """Return whether a type of file system is gone with the power."""
    return kind in _IN_MEMORY
