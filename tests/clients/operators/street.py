"""A namespace in which operators of lamps run, and what one can see there."""

import json
from pathlib import Path

from tests.clients.desk import Desk
from tests.waiting import until

HERE = Path(__file__).parent
LAMP = """
apiVersion: podwire.example.com/v1
kind: Lamp
metadata: {name: NAME}
spec: SPEC
"""


class Street(Desk):
    """A namespace whose lamps operators look after."""

    def lamp(self, name, *options, **spec):
        """Apply a lamp; what kubectl said on both streams."""
        text = LAMP.replace("NAME", name).replace("SPEC", json.dumps(spec))
        done = self.finished("kubectl", "apply", "-f-", *options, stdin=text)
        return done.stdout + done.stderr

    def shows(self, name, path, value):
        """Wait until a lamp has that value at a JSONPath."""
        at = ("get", "lamp", name, "-o", f"jsonpath={{{path}}}")

        def met():
            assert (found := self.ask(*at)) == value, found + self.log()
            return True

        until(f"{path} of {name} is {value}", met)

    def log(self):
        """What its operators said."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def says(self, line, among="*.log"):
        """Wait until an operator said that."""

        def met():
            said = "".join(path.read_text() for path in self.folder.glob(among))
            assert line in said, said
            return True

        until(line, met)

    def until_denied(self):
        """Wait until the webhooks of lamps are asked."""

        def met():
            said = self.lamp("arc", "--dry-run=server", watts=500)
            assert "that melts" in said, said + self.log()
            return True

        until("the webhooks are asked", met)
