"""Moulds: what the creation of one object says of the next one.

Clients create objects by the thousand that differ in a few strings: names, values of labels,
commands, messages. All that a create does with the rest (decoding, defaults, who owns what,
admission, validation, encoding) has the same outcome each time, so it is done once and remembered
as a mould: a pattern that tells bodies of this form from others, and the stored text with gaps.

The law: a mould makes the bytes that ``registry.create`` would have made, and makes nothing of a
body of which that would say anything else. It rests on three things:

- ``free`` names the strings that may differ, each with a pattern that admits only what validation
  admits. Nothing decides by them but what is told there; every other byte is part of the pattern.
- Plugins say whether they repeat themselves (``Plugin.repeats``); one that does not, or does not
  say, leaves every object to ``create``. What they read is ``storage.ADMISSION_READS``: when any of
  that changes, all moulds are broken.
- A mould is learned by running ``create``'s own code on the body with marks in place of its free
  strings: where marks come out are the gaps. It is done twice, with marks of another kind, and a
  third time with the body as it is; unless all agree there is no mould.

``tests/unit/apiserver/test_moulds.py`` holds it.
"""

from podwire.apiserver.moulds.memory import Moulds

__all__ = ["Moulds"]
