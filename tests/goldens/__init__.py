"""What the real tools print (captured in network namespaces), and the suite that holds ours to it.

``python -m tests.goldens.capture [FAMILY...]`` (root) types the commands of ``captured/*.txt`` anew
in namespaces of its own; ``test_goldens.py`` types them in a model of the same network.
"""
