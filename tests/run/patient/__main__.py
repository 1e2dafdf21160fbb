"""The command line with limits of minutes where it has seconds, for tests on a busy machine."""

from iitdask.cli import app
from iitdask.run import coordination

PATIENCE_SECONDS = 3600.0

if __name__ == "__main__":
    for module, name in (
        (app, "CLEAN_EXIT_SECONDS"),
        (coordination, "HEARTBEAT_TIMEOUT_SECONDS"),
    ):
        assert hasattr(module, name), name
        setattr(module, name, PATIENCE_SECONDS)
    app.main()
