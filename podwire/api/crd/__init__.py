"""CustomResourceDefinitions and their objects as data. Pure.

``served`` makes kinds of a definition, each with a ``Custom`` that knows its version; ``nodes`` the
structural schema, ``coercion`` what decoding does to an object (pruning, nulls, embedded
metadata, defaults), ``values`` the checks of values with upstream's words, ``formats`` of strings,
``objects`` all that is checked of an object; ``structural``, ``schemarules``, ``defaultrules`` and
``definitions`` what is checked of a definition, ``naming`` which names it gets; ``ownership`` who
owns which field, ``jsonpath`` and ``columns`` what tables print, ``documents`` OpenAPI.

Rules in CEL (x-kubernetes-validations) are ``podwire.api.cel``'s.

Source of the behaviour: kubernetes/apiextensions-apiserver and kube-openapi pkg/validation.
"""

from podwire.api import validation as _validation  # noqa: F401  first: it imports from here in turn
