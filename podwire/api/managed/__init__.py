"""Who owns which field: managedFields and server-side apply. Pure.

``fields`` path sets and their FieldsV1 form, ``plans`` how a type's values are owned, ``compare``
what a write touched, ``typed`` field sets, merging and removal, ``managers`` the entries of an
object after a write, ``apply`` the merge that asks before it takes, ``scale`` the same entries as
the scale subresource sees them.

Source of the behaviour: sigs.k8s.io/structured-merge-diff v6 and apimachinery
pkg/util/managedfields. Versions of one kind are taken to have one schema: entries of another
version are read as they are, where upstream converts the object (not modelled).
"""
