"""CEL, the expression language of rules and policies, with Kubernetes' types, functions and limits.

Law: pure. An expression is parsed, checked against declared types and made into Python closures
once; evaluating it touches nothing but the values it is given, and its cost is counted as upstream
counts it, so that no expression runs long. Rooms call ``rules`` (``x-kubernetes-validations``) and
``compile``; they never look into the stages.
"""
