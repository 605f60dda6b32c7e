"""Fixtures: review projects, workspaces, sessions and clients."""

from tests.support.serving import client, folder, prepared_project, session, workspace

__all__ = ["client", "folder", "prepared_project", "session", "workspace"]
