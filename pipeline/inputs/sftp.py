"""SFTP to hosts that are known: fsspec's own file system would trust whoever answers."""

from typing import Any

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem


class KnownHostsFileSystem(SFTPFileSystem):  # type: ignore[misc]
    """Options: `known_hosts` (a file, besides the user's own), `timeout` (s), and what paramiko's `connect` takes."""

    # fsspec's cache would keep a connection that another thread uses
    cachable = False

    def _connect(self) -> None:
        options: dict[str, Any] = dict(self.ssh_kwargs)
        options.pop("use_listings_cache", None)
        known = options.pop("known_hosts", None)
        timeout = options.pop("timeout", 60.0)
        self.client = paramiko.SSHClient()
        self.client.load_system_host_keys()
        if known is not None:
            self.client.load_host_keys(str(known))
        self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        limits = {"timeout": timeout, "banner_timeout": timeout, "auth_timeout": timeout, "channel_timeout": timeout}
        self.client.connect(self.host, **limits, **options)
        self.ftp = self.client.open_sftp()
        channel = self.ftp.get_channel()
        if channel is not None:
            channel.settimeout(timeout)

    def close(self) -> None:
        """End the connection."""
        self.client.close()
